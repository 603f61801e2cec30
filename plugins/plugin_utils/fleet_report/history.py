# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Verdicts and tokens per second of a host over time: of the host itself, the last report and this run. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.answers import Answers
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import HistoryEntry, InstanceReport
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import mapping, mappings, name, number

#: Entries that a report keeps of a host, the last ones.
KEPT = 20
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")


def history(
    answers: Answers, instances: Sequence[InstanceReport], last: Mapping[str, Any], time: str
) -> list[HistoryEntry]:
    """Return the verdicts of a host, the last at the end.

    Args:
        answers: of the host.
        instances: of its plan, with what this run has found.
        last: the host in the JSON of the last report, {} where it is not there.
        time: of this report.
    """
    found = {(entry.time, entry.source): entry for entry in map(_read, mappings(last.get("history")))}
    for record in mappings(mapping(answers.host.get("history")).get("plans")):
        entry = _of_plan(record)
        found[entry.time, entry.source] = entry
    check = mapping(answers.host.get("last_check"))
    if check.get("verdict"):
        entry = HistoryEntry(name(check.get("time")), "check on the host", "", name(check["verdict"]))
        found[entry.time, entry.source] = entry
    if answers.evidence.get("verdict"):
        entry = HistoryEntry(
            time,
            "run",
            name(answers.plan.get("ollama_version")),
            name(answers.evidence["verdict"]),
            {
                "%s on %s" % (model.name, instance.name): model.tokens_per_second
                for instance in instances
                for model in instance.models
                if model.tokens_per_second is not None
            },
        )
        found[entry.time, entry.source] = entry
    sound = [entry for entry in found.values() if _TIME.match(entry.time)]
    return sorted(sound, key=lambda entry: (entry.time, entry.source))[-KEPT:]


def _of_plan(record: Mapping[str, Any]) -> HistoryEntry:
    """An entry of the plans that a host keeps (host/history.py)."""
    speeds = {
        name("%s on %s" % (model, instance)): number(speed) or 0.0
        for instance, models in mapping(record.get("tokens_per_second")).items()
        for model, speed in mapping(models).items()
    }
    time, release, verdict = (name(record.get(key)) for key in ("time", "release", "verdict"))
    return HistoryEntry(time, "plan %s" % name(record.get("number")), release, verdict, speeds)


def _read(entry: Mapping[str, Any]) -> HistoryEntry:
    """An entry of the JSON of a report."""
    speeds = {name(key): number(speed) or 0.0 for key, speed in mapping(entry.get("tokens_per_second")).items()}
    words = (name(entry.get(key)) for key in ("time", "source", "release", "verdict"))
    return HistoryEntry(*words, speeds)
