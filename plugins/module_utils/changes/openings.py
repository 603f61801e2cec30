# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run changes in ufw and firewalld, where they manage the firewall of a host, so that they let the clients of
the instances through. Who else may connect is the business of firewall.py. Pure."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

from ..common.openings import Difference, Place, compared, place_of, warnings
from .schema import Change

_MISSING = "It has no opening for %s."
_STALE = "The opening for %s is not wanted any more."


def compare_openings(
    host: Mapping[str, Any], allowed: Sequence[str], ports: Sequence[int], ports_after: Sequence[int]
) -> list[Change]:
    """Return the changes of openings.

    Args:
        host: of module host_info.
        allowed: networks whose hosts may connect.
        ports: of the instances of before and of now, which are open while the instances are switched.
        ports_after: of the instances of now.
    """
    found = compared(_places(host), allowed, ports)
    then = compared([one.mended for one in found], allowed, ports_after)
    return [
        *_changes("open", _MISSING, found, "missing", (allowed, ports)),
        *_changes("close", _STALE, found, "stale", (allowed, ports)),
        *_changes("narrow", _STALE, then, "stale", (allowed, ports_after)),
    ]


def without_openings(host: Mapping[str, Any]) -> list[Change]:
    """Return the changes that take all openings of the collection away.

    Args:
        host: of module host_info.
    """
    found = compared(_places(host), (), ())
    return _changes("remove", _STALE, found, "stale", ((), ()))


def opening_notes(host: Mapping[str, Any], allowed: Sequence[str], ports: Sequence[int]) -> list[str]:
    """Return what a run cannot put right.

    Args:
        host: of module host_info.
        allowed: networks whose hosts may connect; () without rules.
        ports: of the instances.
    """
    return warnings(_places(host), allowed, ports)


def opening_obstacles(host: Mapping[str, Any]) -> list[str]:
    """Return why it is not known which openings are missing.

    Args:
        host: of module host_info.
    """
    problem = host["firewall"]["problem"]
    remedy = "make it answer, or stop what manages the firewall of the host."
    return ["%s, so that it is not known whether clients get through: %s" % (problem, remedy)] if problem else []


def _places(host: Mapping[str, Any]) -> list[Place]:
    return [place_of(data) for data in host["firewall"]["places"]]


def _changes(
    kind: str, reason: str, found: Iterable[Difference], side: str, wanted: tuple[Sequence[str], Sequence[int]]
) -> list[Change]:
    """A change for each manager; `details` are the options of module firewall_openings."""
    named: dict[str, list[str]] = {}
    for one in found:
        for opening in getattr(one, side):
            named.setdefault(one.place.manager, []).append(one.place.named(opening))
    details = {"allow_from": list(wanted[0]), "ports": list(wanted[1])}
    return [
        Change(kind, "firewall", manager, reason % ", ".join(dict.fromkeys(names)), details=details)
        for manager, names in named.items()
    ]
