# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Openings for the clients of the instances in what manages the firewall of a host (ufw, firewalld): which of them are
missing, and which are not wanted any more. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from . import networks

UFW, FIREWALLD = "ufw", "firewalld"


@dataclass(frozen=True, order=True)
class Opening:
    """Who may connect to which ports.

    Attributes:
        network: as networks.canonical writes it.
        ports: TCP ports, "11434" or "11434-11437".
    """

    network: str
    ports: str

    def __str__(self) -> str:
        return "%s to port %s" % (self.network, self.ports)

    def has(self, port: int) -> bool:
        """Return whether a port is one of its ports."""
        first, _dash, last = self.ports.partition("-")
        return int(first) <= port <= int(last or first)


@dataclass(frozen=True)
class Place:
    """A place in which a manager keeps openings.

    Attributes:
        manager: UFW or FIREWALLD.
        zone: of firewalld, "" for ufw.
        lasting: whether what it keeps is there after a reboot. firewalld has two places for each zone.
        active: whether the manager is in force on the host. Nothing is opened where it is not.
        opens: versions of IP for which it refuses clients without an opening.
        own: openings of the collection.
        held: rules of others for networks and ports, whatever they say; of the same ones, the manager keeps only one.
        shut: versions of IP for which it refuses all clients, whatever rules it has.
        kept: openings of the collection that cannot be taken away now.
        why_kept: sentences without their end about one of these: why, and what to do.
    """

    manager: str
    zone: str = ""
    lasting: bool = True
    active: bool = True
    opens: Tuple[int, ...] = (4, 6)
    own: Tuple[Opening, ...] = ()
    held: Tuple[Opening, ...] = ()
    shut: Tuple[int, ...] = ()
    kept: Tuple[Opening, ...] = ()
    why_kept: str = ""

    def named(self, one: Opening) -> str:
        """Return an opening in this place, for people."""
        return "%s in zone %s" % (one, self.zone) if self.zone else str(one)


@dataclass(frozen=True)
class Difference:
    """What a place lacks, and what it has too much."""

    place: Place
    missing: Tuple[Opening, ...]
    stale: Tuple[Opening, ...]

    @property
    def mended(self) -> Place:
        """The place when nothing differs any more."""
        return dataclasses.replace(self.place, own=tuple(sorted({*self.place.own, *self.missing} - {*self.stale})))


def compared(places: Iterable[Place], allowed: Sequence[str], ports: Sequence[int]) -> List[Difference]:
    """Return a difference for each place, in their order; `differing` has those alone that have one.

    Args:
        places: of a host.
        allowed: networks whose hosts may connect, as networks.canonical writes them.
        ports: of the instances.
    """
    return [_compared(place, allowed, ports) for place in places]


def differing(places: Iterable[Place], allowed: Sequence[str], ports: Sequence[int]) -> List[Difference]:
    """Return the differences of the places that are not as wanted; the arguments are those of `compared`."""
    return [one for one in compared(places, allowed, ports) if one.missing or one.stale]


def _compared(place: Place, allowed: Sequence[str], ports: Sequence[int]) -> Difference:
    wanted = _wanted(place.opens, allowed, ports)
    missing = wanted - {*place.own, *place.held} if place.active else set()
    return Difference(place, tuple(sorted(missing)), tuple(sorted({*place.own} - wanted)))


def _wanted(versions: Iterable[int], allowed: Sequence[str], ports: Sequence[int]) -> Set[Opening]:
    listed = [network for version in versions for network in networks.of_version(allowed, version)]
    return {Opening(network, span) for network in listed for span in port_ranges(ports)}


def warnings(places: Iterable[Place], allowed: Sequence[str], ports: Sequence[int]) -> List[str]:
    """Return sentences about what no run can put right; the arguments are those of `compared`."""
    found = []
    for place in places:
        left = sorted({*place.kept} - _wanted((4, 6), allowed, ports))
        if left:
            names = ", ".join(map(place.named, left))
            found.append("%s keeps the opening for %s: %s." % (place.manager, names, place.why_kept))
        refused = [network for version in place.shut for network in networks.of_version(allowed, version)]
        if refused:
            found.append(
                "%s refuses all clients of IPv6, because /etc/default/ufw has IPV6=no, so that %s cannot connect: set "
                "IPV6=yes there, run 'ufw reload' and then this again, or list only networks of IPv4."
                % (place.manager, ", ".join(refused))
            )
    return found


def shut_out(opened: Iterable[Opening], allowed: Sequence[str], ports: Sequence[int]) -> List[Opening]:
    """Return which ports are closed to some hosts of which networks.

    Args:
        opened: who may connect to what, whoever has opened it. Several networks together may hold a listed one.
        allowed: networks whose hosts should be able to connect, as networks.canonical writes them.
        ports: to which.
    """
    known = tuple(opened)
    closed: Dict[str, List[int]] = {}
    for port in ports:
        for network in networks.outside(allowed, (one.network for one in known if one.has(port))):
            closed.setdefault(network, []).append(port)
    return [Opening(network, span) for network in allowed for span in port_ranges(closed.get(network, ()))]


def port_ranges(ports: Iterable[int]) -> List[str]:
    """Return ports as ranges: 11434, 11435 and 11440 as "11434-11435" and "11440"."""
    found: List[List[int]] = []
    for port in sorted(set(ports)):
        if found and port == found[-1][-1] + 1:
            found[-1].append(port)
        else:
            found.append([port])
    return ["%d-%d" % (one[0], one[-1]) if len(one) > 1 else str(one[0]) for one in found]


def lines(places: Iterable[Place]) -> List[str]:
    """Return the collection's openings, for people."""
    return [
        "%s: %s, %s" % (place.manager, place.named(one), "also after a reboot" if place.lasting else "now")
        for place in places
        for one in place.own
    ]


def place_data(place: Place, allowed: Sequence[str]) -> Dict[str, Any]:
    """Return a place as data that leaves the host. Of the rules of others only those for the listed networks count:
    programs that shut out attackers make thousands.

    Args:
        place: of the host.
        allowed: networks that may be opened, as networks.canonical writes them.
    """
    held = tuple(one for one in place.held if one.network in allowed)
    return dataclasses.asdict(dataclasses.replace(place, held=held))


def place_of(data: Mapping[str, Any]) -> Place:
    """Return the place of `place_data`."""
    rules = {name: tuple(Opening(**one) for one in data[name]) for name in ("own", "held", "kept")}
    return Place(**{**data, **rules, "opens": tuple(data["opens"]), "shut": tuple(data["shut"])})
