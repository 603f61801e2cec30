# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan of a host with what applying it does, as data that a pipeline keeps. Pure.

The same host gives the same data in every run: it holds no time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import shown_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.written import as_written
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.changes_lines import (
    Difference,
    change_texts,
    fetched_models,
    fetches_release,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.downtimes import downtimes
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_differences import plan_differences
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.reviewed_plan import basis_of

#: Of the data. Another number says that keys have another meaning.
FORMAT = 1
#: No plan was made; it cannot be applied; it changes the host; the host is as the plan says.
UNPLANNED, REFUSED, DIFFERS, SAME = "unplanned", "refused", "differs", "same"
#: What is left out of the short form of a host, which a summary is made of.
_ONLY_WHOLE = ("plan", "applied", "basis", "changes")
#: How many differences a sentence names.
_NAMED = 3
#: What the plan of a host without one is compared with.
_NOTHING = {"instances": [], "models": []}
_WARNINGS = ("warnings", "release_changes")


@dataclass(frozen=True)
class Planned:
    """What was planned for a host.

    `plan` is of module placement_info, `difference` of module changes_info, and `host` of module host_info; each is {}
    where it is not known, as is `gpu_inventory` of module gpu_facts. `obstacles` are sentences about what kept a plan
    from being made. `settings` are the variables of the role.
    """

    plan: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    difference: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    host: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gpu_inventory: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    obstacles: Sequence[str] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def plan_record(name: str, found: Planned) -> dict[str, Any]:
    """Return the data of a host.

    Args:
        name: of the host in the inventory.
        found: what was planned.
    """
    # As it would be written on the host: without what is another one in every run, such as the free memory.
    plan = as_written(shown_plan(dict(found.plan))) if found.plan else {}
    applied = dict(found.host.get("applied_plan") or {})
    changes = [
        {key: value for key, value in change.items() if key != "details"}
        for change in found.difference.get("changes") or []
    ]
    obstacles = [*found.obstacles, *(found.difference.get("obstacles") or [])]
    difference = Difference(changes, found.difference.get("summary") or [], plan, applied, obstacles)
    record: dict[str, Any] = {"format": FORMAT, "host": name, "state": _state(found, changes, obstacles)}
    record["obstacles"] = obstacles
    if not plan:
        return record
    switches = (found.difference.get("work") or {}).get("switches") or []
    models = fetched_models(difference)
    record.update(
        plan=plan,
        applied=applied,
        basis=basis_of(plan, found.host, found.gpu_inventory, found.settings),
        changes=changes,
        differences=plan_differences(applied or dict(_NOTHING, ollama_version=plan.get("ollama_version")), plan),
        is_first=not applied,
        change_count=len(changes),
        done=change_texts(changes),
        warnings=_new_warnings(difference, found.plan),
        gpus=[str(gpu.get("name")) for gpu in plan.get("gpus") or []],
        to_fetch={
            "release": str(plan.get("ollama_version")) if fetches_release(difference) else None,
            "models": [{"name": model, "size_bytes": size} for model, size in sorted(models.items())],
            "size_bytes": sum(size or 0 for size in models.values()),
        },
        downtimes=[dataclasses.asdict(one) for one in downtimes(switches, plan, found.host)],
    )
    return record


def short_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a summary of all hosts needs of the data of one."""
    return {key: value for key, value in record.items() if key not in _ONLY_WHOLE}


def drift_sentence(record: Mapping[str, Any]) -> str:
    """Return the sentence that says in what a host differs from its plan; "" where it does not, or is not planned."""
    if record["state"] != DIFFERS:
        return ""
    said = record["differences"] if record["applied"] else []
    said = [*said, *record["done"]] if record["applied"] else record["done"]
    named = "; ".join(text.rstrip(".") for text in said[:_NAMED])
    more = "; and %d more" % (len(said) - _NAMED) if len(said) > _NAMED else ""
    count = "1 change" if record["change_count"] == 1 else "%d changes" % record["change_count"]
    title = "differs from its plan" if record["applied"] else "has no plan in force"
    return (
        "%s %s, and a run would make %s: %s%s. Apply the plan with the playbook gpufleet.ollama.site; the run "
        "ends here because ollama_multigpu_fail_on_change is true." % (record["host"], title, count, named, more)
    )


def _state(found: Planned, changes: Sequence[Any], obstacles: Sequence[str]) -> str:
    if not found.plan or not found.difference:
        return REFUSED if obstacles else UNPLANNED
    if obstacles:
        return REFUSED
    return DIFFERS if changes else SAME


def _new_warnings(difference: Difference, plan: Mapping[str, Any]) -> list[str]:
    """Warnings that the plan in force did not have, those of the host among them."""
    known = {text for key in _WARNINGS for text in difference.applied.get(key) or []}
    said = [text[len("Warning: ") :] for text in difference.summary if text.startswith("Warning: ")]
    said += [text for key in _WARNINGS for text in plan.get(key) or []]
    return [text for text in dict.fromkeys(said) if text not in known]
