# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is other than in the last report. Pure: both are compared as the JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import (
    FAILED,
    NOT_FINISHED,
    UNREACHABLE,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import mapping, mappings, name, number

#: Tokens per second that differ by less are the same to people.
_NOTICED = 0.2
#: Beginning of a value that varies a little from run to run.
_SPEED = "tokens/s of "
#: States of hosts that did not answer: what is not known differs from nothing.
_SILENT = (UNREACHABLE, NOT_FINISHED)


def baseline(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the next report is compared with: {time, hosts: {name: facts}}; {} where there is none.

    Args:
        report: the JSON of a report. One that is not complete hands on what it would have been compared with.
    """
    if not report.get("complete"):
        kept = mapping(report.get("baseline"))
        hosts = mapping(kept.get("hosts"))
        return {"time": name(kept.get("time")), "hosts": dict(hosts)} if hosts else {}
    hosts = {name(host.get("name")): _facts(host) for host in hosts_of(report)}
    return {"time": name(report.get("time")), "hosts": hosts}


def hosts_of(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the hosts in the JSON of a report, however many."""
    hosts = report.get("hosts")
    return [one for one in hosts if isinstance(one, Mapping)] if isinstance(hosts, list) else []


def changes_since(before: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return {host: [phrase]} of what differs from a baseline; {} where nothing does.

    Args:
        before: of `baseline`.
        report: the JSON of the report of now.
    """
    old, new = mapping(before.get("hosts")), mapping(baseline(dict(report, complete=True)).get("hosts"))
    found = {host: _differences(mapping(old[host]), new[host]) for host in new if host in old}
    found.update((host, ["is new in the report"]) for host in new if host not in old)
    found.update((host, ["is not in the report any more"]) for host in old if host not in new)
    return {host: phrases for host, phrases in found.items() if phrases}


def _facts(host: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is compared of a host, in the order in which people want to know it.

    Returns:
        {values, things}: {what: value} of what each host has, and of what comes and goes. Of a host that was not read,
        there are no `things`.
    """
    values: dict[str, Any] = {"state": host.get("state")}
    things: dict[str, Any] = {}
    if not _is_read(host):
        return {"values": values}
    values.update(Ollama=host.get("ollama_version"), driver=host.get("driver_version"))
    for gpu in mappings(host.get("gpus")):
        things["%s (%s)" % (gpu.get("label"), gpu.get("uuid"))] = gpu.get("health")
    for instance in mappings(host.get("instances")):
        values["address of %s" % instance.get("name")] = instance.get("url")
        for model in mappings(instance.get("models")):
            place = "%s on %s" % (model.get("name"), instance.get("name"))
            things[place] = model.get("strategy")
            values["context length of " + place] = model.get("context_length")
            values[_SPEED + place] = model.get("tokens_per_second")
    for finding in mappings(host.get("findings")):
        where = " of %s" % finding["where"] if finding.get("where") else ""
        things["finding %s%s" % (finding.get("finding"), where)] = None
    return {"values": values, "things": things}


def _is_read(host: Mapping[str, Any]) -> bool:
    if host.get("state") == FAILED and not mappings(host.get("gpus")) and not mappings(host.get("instances")):
        return False  # the run has failed before
    return host.get("state") not in _SILENT


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = (mapping(one.get("values")) for one in (old, new))
    said = []
    for what in (what for what in after if what in before):
        said += _phrase(what, before[what], after[what])
    if "things" not in old or "things" not in new:
        return said
    before, after = (mapping(one.get("things")) for one in (old, new))
    for what in dict.fromkeys([*after, *before]):
        if what not in before:
            said.append("%s is new" % what)
        elif what not in after:
            said.append("%s is gone" % what)
        else:
            said += _phrase(what, before[what], after[what])
    return said


def _phrase(what: str, before: Any, after: Any) -> list[str]:
    if what.startswith(_SPEED):
        speeds = number(before), number(after)
        if None in speeds or abs((speeds[1] or 0) - (speeds[0] or 0)) <= _NOTICED * (speeds[0] or 0):
            return []
    if before == after:
        return []
    words = ("%g" % one if isinstance(one, float) else name(one) or "unknown" for one in (before, after))
    return ["%s: %s -> %s" % (name(what), *words)]
