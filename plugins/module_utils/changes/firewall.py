# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who may connect to the instances: the rules of a table of nftables that is the collection's alone. Pure.

The table only closes: what another table of the host refuses stays refused. A packet that any base chain drops is
dropped, whatever the others say (nft(8), Verdict statements), so that neither ufw nor firewalld opens what is closed
here. Where these refuse the clients, openings.py lets them through.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

from ..common import addresses, paths
from ..common.firewall_rules import Firewall
from ..common.managed import MANAGED
from . import openings, order
from .files import difference, is_absent
from .schema import Change, ManagedFile
from .wanted_files import root_file

_UNIT = """\
[Unit]
Description=Who may connect to the Ollama instances
Documentation=https://github.com/gpufleet/ollama
After=nftables.service
Wants=network-pre.target
Before=network-pre.target
DefaultDependencies=no
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=@nft@ -f @rules@
ExecReload=@nft@ -f @rules@
# Nothing unloads the rules when it stops: the instances may go on.

[Install]
WantedBy=multi-user.target
"""
#: nftables.service empties all tables when it starts, reloads and stops. It goes on without a file of ours.
_DROP_IN = """\
[Service]
ExecStartPost=-@nft@ -f @rules@
ExecReload=-@nft@ -f @rules@
ExecStopPost=-@nft@ -f @rules@
"""
_FILES = (paths.FIREWALL_RULES, paths.FIREWALL_UNIT_FILE, paths.NFTABLES_DROP_IN)


def unit_text() -> str:
    """Return the text of the unit that loads the rules at boot."""
    return _filled(_UNIT)


def drop_in_text() -> str:
    """Return the text of the drop-in of nftables.service."""
    return _filled(_DROP_IN)


def _filled(text: str) -> str:
    for name, value in (("nft", paths.NFT), ("rules", paths.FIREWALL_RULES)):
        text = text.replace("@%s@" % name, value)
    return MANAGED + text


def wanted_firewall(instances: Iterable[Mapping[str, Any]], allowed: Sequence[str]) -> Firewall | None:
    """Return the rules for the instances of a plan; None where there are none: nobody is listed, or only programs of
    the host itself reach the instances.

    Args:
        instances: of a plan.
        allowed: networks whose hosts may connect.
    """
    ports = {
        one["port"] for one in instances if not addresses.is_loopback(addresses.without_brackets(str(one["address"])))
    }
    return Firewall(tuple(sorted(ports)), tuple(allowed)) if ports and allowed else None


def compare_firewall(
    plan: Mapping[str, Any], before: Iterable[Mapping[str, Any]], host: Mapping[str, Any], allowed: Sequence[str]
) -> tuple[list[Change], list[ManagedFile]]:
    """Return the changes of rules, and the files that differ, as module instance_files takes them.

    Before the instances are switched, rules for the old and the new ports are written and loaded, so that no instance
    is open in between, after it has gone back, or after a run that was killed and a reboot. Those for the new ports
    alone come last.

    Args:
        plan: of module placement_info.
        before: the instances of all plans that the host may run now, whole or in part.
        host: of module host_info.
        allowed: networks whose hosts may connect.
    """
    wanted = wanted_firewall(plan["instances"], allowed)
    if wanted is None:
        return _without(host)
    both = wanted_firewall([*before, *plan["instances"]], allowed) or wanted
    texts = dict(zip(_FILES, (both.text, unit_text(), drop_in_text())))
    directory = ManagedFile(
        paths.NFTABLES_DROP_INS, "directory", owner="root", group="root", mode="0755", stage=order.GUARD
    )
    changes, files = [], []
    for file in [directory, *(root_file(path, text, order.GUARD) for path, text in texts.items())]:
        reason = difference(file, host["files"].get(file.path))
        if reason:
            changes.append(Change("write", "firewall", file.path, reason))
            files.append(file)
    reason = _why_load(both, host["firewall"]) or ("Its files are written." if changes else "")
    if reason:
        changes.append(Change("load", "firewall", paths.FIREWALL_UNIT, reason))
    changes += openings.compare_openings(host, allowed, both.ports, wanted.ports)
    given_up = sorted(set(both.ports) - set(wanted.ports))
    if given_up:
        reason = "No instance has port %s any more." % ", ".join(map(str, given_up))
        changes.append(Change("narrow", "firewall", paths.FIREWALL_UNIT, reason))
        files.append(root_file(paths.FIREWALL_RULES, wanted.text, order.FINISH))
    return changes, files


def _why_load(rules: Firewall, there: Mapping[str, Any]) -> str:
    """Why rules have to be loaded; "" where they are, now and at boot. `there`: of module host_info."""
    if there["loaded"] != rules.digest:
        return "Its rules are not loaded." if there["loaded"] is None else "Other rules are loaded."
    if not there["enabled"]:
        return "It does not start at boot."
    return "" if there["active"] else "It does not run."


def _without(host: Mapping[str, Any]) -> tuple[list[Change], list[ManagedFile]]:
    """What removes rules that are not wanted any more. No instance listens on a network without them by then."""
    there, opened = host["firewall"], openings.without_openings(host)
    known = [path for path in _FILES if not is_absent(path, host)]
    if not known and there["loaded"] is None and not there["active"] and not there["enabled"]:
        return opened, []
    reason = "Nobody is listed in ollama_multigpu_allow_from, or no instance listens on a network."
    files = [ManagedFile(path, "absent", stage="finish") for path in known]
    return [*opened, Change("remove", "firewall", paths.FIREWALL_UNIT, reason)], files


def obstacles(plan: Mapping[str, Any], host: Mapping[str, Any], allowed: Sequence[str]) -> list[str]:
    """Return what keeps the rules from being loaded, or the clients from getting through."""
    if wanted_firewall(plan["instances"], allowed) is None:
        return []
    found = openings.opening_obstacles(host)
    if host["firewall"]["program"]:
        return found
    return [
        *found,
        "The host has no program nft, which keeps out who is not in ollama_multigpu_allow_from: install the package "
        "nftables.",
    ]


def notes(plan: Mapping[str, Any], host: Mapping[str, Any], allowed: Sequence[str]) -> list[str]:
    """Return what a run cannot put right in what manages the firewall of the host."""
    wanted = wanted_firewall(plan["instances"], allowed)
    return (
        openings.opening_notes(host, wanted.allowed, wanted.ports) if wanted else openings.opening_notes(host, (), ())
    )
