# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report of a fleet, made from what a run has read of its hosts and from the last report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.versions import UnknownVersion, effects
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import history, shapes, since
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.answers import Answers
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.benchmarks import benchmark_report
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.findings import findings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.gpus import gpu_reports
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.instances import instance_reports
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import FleetReport, HostReport, Since
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import (
    entries,
    mapping,
    mappings,
    name,
    text,
)

_OF_VERDICT = {"pass": shapes.AS_PLANNED, "fail": shapes.NOT_AS_PLANNED, "unproven": shapes.NOT_PROVEN}


@dataclass(frozen=True)
class Run:
    """The run that the report is about.

    Attributes:
        time: in UTC.
        complete: whether it came to its end.
        changes_nothing: whether `difference` of the answers is what differs, and not what was changed.
        benchmarks: {host: what is in the files of its benchmarks, the newest at the end}.
    """

    time: str
    complete: bool = True
    changes_nothing: bool = False
    benchmarks: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def fleet_report(hosts: Mapping[str, Answers], last: Mapping[str, Any], run: Run) -> FleetReport:
    """Return the report of a fleet.

    Args:
        hosts: {name in the inventory: what is known}, in the order of the inventory.
        last: the JSON of the last report, {} where there is none.
        run: of this report.
    """
    before = {name(host.get("name")): host for host in since.hosts_of(last)}
    found = [_host(host, answers, mapping(before.get(name(host))), run) for host, answers in hosts.items()]
    releases = {}
    for host in found:
        names = releases.setdefault(host.ollama_version, set())
        names.update(*(instance.settings for instance in host.instances))
    compared_with = since.baseline(last)
    report = FleetReport(
        time=run.time,
        complete=run.complete,
        hosts=sorted(found, key=lambda host: shapes.STATES.index(host.state)),
        settings={release: _effects(release, names) for release, names in sorted(releases.items()) if release},
        baseline={} if run.complete else compared_with,
    )
    if not compared_with or not run.complete:
        return report
    changes = since.changes_since(compared_with, asdict(report))
    return replace(report, since=Since(compared_with["time"], changes))


def _effects(release: str, names: set[str]) -> dict[str, str]:
    """{setting: what it does on a release} of the settings that instances have."""
    try:
        known = effects(release)
    except UnknownVersion:
        return {}
    return {key: known[key] for key in sorted(names) if key in known}


def _host(host: str, answers: Answers, last: Mapping[str, Any], run: Run) -> HostReport:
    """A host. What it answered may have any structure: then the report says so, and has the other hosts."""
    try:
        return _sound_host(host, answers, last, run)
    except Exception as error:  # pylint: disable=broad-except  # see above
        reason = "What was read on it cannot be used: it is not what the modules of this collection return (%s: %s)."
        return HostReport(name(host), shapes.FAILED, reason % (type(error).__name__, printable(error)[:200]))


def _sound_host(host: str, answers: Answers, last: Mapping[str, Any], run: Run) -> HostReport:
    # What was observed belongs beside the plan that the host runs with, and not beside one that nobody has applied.
    shown = replace(answers, plan=answers.applied_plan) if run.changes_nothing and answers.applied_plan else answers
    gpus, instances = gpu_reports(shown), instance_reports(shown)
    state, reason = _state(answers, run)
    changes = [_change(one) for one in mappings(answers.difference.get("changes"))]
    plan = shown.plan
    notes = [text(one) for key in ("warnings", "release_changes") for one in entries(plan.get(key))]
    return HostReport(
        name=name(host),
        state=state,
        reason=reason,
        ollama_version=name(plan.get("ollama_version")),
        driver_version=name(answers.inventory.get("driver_version")),
        cuda_version=name(answers.inventory.get("cuda_version")),
        architecture=name(answers.host.get("architecture")),
        address=name(answers.host.get("default_address")),
        gpus=gpus,
        instances=instances,
        why={name(one.get("name")): text(one.get("reason")) for one in mappings(plan.get("models"))},
        findings=findings(answers, gpus),
        changes=changes,
        is_drift=run.changes_nothing,
        notes=notes,
        history=history.history(shown, instances, last, run.time),
        benchmark=benchmark_report(run.benchmarks.get(host) or ()),
    )


def _state(answers: Answers, run: Run) -> tuple[str, str]:
    """The state of a host, and why."""
    if answers.unreachable:
        return shapes.UNREACHABLE, answers.unreachable
    verdict = name(answers.evidence.get("verdict"))
    if answers.failure:
        # A verdict that fails says more than that the run failed.
        return (_OF_VERDICT["fail"] if verdict == "fail" else shapes.FAILED), answers.failure
    if not answers.ended:
        begun = "The run had begun and not ended when this was written." if not run.complete else _LOST
        return shapes.NOT_FINISHED, begun
    if verdict in ("fail", "unproven"):
        return _OF_VERDICT[verdict], ""
    if run.changes_nothing and answers.difference.get("changes"):
        return shapes.DIFFERS, ""
    if run.changes_nothing and not answers.applied_plan:
        return (shapes.PLANNED, "Nothing has been applied.") if answers.plan else (shapes.NO_PLAN, "")
    return (_OF_VERDICT["pass"], "") if verdict == "pass" else (shapes.PLANNED, "It was not verified.")


_LOST = "The run did not come to its end on this host: the connection was lost, or it was stopped."


def _change(change: Mapping[str, Any]) -> str:
    verb = name(change.get("kind")).replace("_", " ").capitalize()
    place = " on %s" % name(change["instance"]) if change.get("object") == "model" and change.get("instance") else ""
    words = (verb, name(change.get("object")), name(change.get("what")), place, text(change.get("reason")))
    return "%s %s %s%s: %s" % words
