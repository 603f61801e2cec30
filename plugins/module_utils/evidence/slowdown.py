# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How fast the models of a plan generate, and which are slower than when the plan before was proven. Pure.

What is compared is the tokens/s of the proof's generation: one request with a short prompt. Its speed does not depend
on the context length, the batch and the number of slots that are set, so a model is compared where these differ, and
the finding says so. It does depend on where the layers are, on the content of the model, on the type of the KV cache,
on flash attention and on speculative decoding: where a plan changes one of these, it was asked for, and both figures
are told without a verdict. A release, a driver, an environment and the machine itself are what is judged.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Iterable, List, Mapping, Optional

from ..common.names import served_name
from .shapes import Finding

#: By how many per cent a model may be slower where nothing else is said.
ALLOWED_PERCENT = 20


@dataclasses.dataclass(frozen=True)
class ProvenPlan:
    """A plan with what its proof has measured.

    Attributes:
        plan: as placement_info gives it, or as it is kept on a host.
        speeds: {instance: {model: tokens/s}}.
        number: of a plan in the history; None where it is not there yet.
    """

    plan: Mapping[str, Any]
    speeds: Mapping[str, Mapping[str, float]]
    number: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Slowdowns:
    """`findings` are the models that are slower than allowed; `notes` are sentences about those that are not judged."""

    findings: List[Finding]
    notes: List[str]


def measured_speeds(instances: Iterable[Mapping[str, Any]]) -> Dict[str, Dict[str, float]]:
    """Return {instance: {model: tokens/s}} of evidence; a model that generated nothing is not in it.

    Args:
        instances: of the result of placement_check.
    """
    return _measured(instances, "tokens_per_second")


def measured_loads(instances: Iterable[Mapping[str, Any]]) -> Dict[str, Dict[str, float]]:
    """Return {instance: {model: seconds}} of evidence; a model of which no load was seen is not in it.

    Args:
        instances: of the result of placement_check.
    """
    return _measured(instances, "load_seconds")


def _measured(instances: Iterable[Mapping[str, Any]], key: str) -> Dict[str, Dict[str, float]]:
    found: Dict[str, Dict[str, float]] = {}
    for instance in instances:
        for model in instance.get("models") or []:
            value = model.get(key)
            if isinstance(value, (int, float)) and value > 0:
                found.setdefault(str(instance.get("name")), {})[str(model.get("name"))] = value
    return found


def slowdowns(new: ProvenPlan, before: ProvenPlan, allowed_percent: float = ALLOWED_PERCENT) -> Slowdowns:
    """Return which models of a plan generate more slowly than allowed.

    Args:
        new: the plan that is proven now.
        before: the plan that was in force.
        allowed_percent: by how many per cent a model may be slower.

    Returns:
        Nothing of a model that was not measured in both, or that has another instance now.
    """
    findings, notes = [], []
    there = {(name, served_name(model)): (instance, model) for name, instance, model in _models(before.plan)}
    for name, instance, model in _models(new.plan):
        key = served_name(model)
        speed, earlier = (proven.speeds.get(name, {}).get(key) for proven in (new, before))
        if not speed or not earlier or (name, key) not in there:
            continue
        before_instance, before_model = there[name, key]
        lost = round(100 * (1 - speed / earlier), 6)
        if lost <= allowed_percent:
            continue
        told = _told(key, (speed, new), (earlier, before))
        changed = _differences(_decisive(instance, model), _decisive(before_instance, before_model))
        if changed:
            notes.append("%s. This is not judged, because the plan changes %s." % (told, "; ".join(changed)))
            continue
        others = _differences(_other(new.plan, model), _other(before.plan, before_model))
        beside = " The plan also changes %s." % "; ".join(others) if others else ""
        evidence = "%s: that is %.0f %% less, and %g %% are allowed.%s" % (told, lost, allowed_percent, beside)
        findings.append(Finding("slower", evidence, _remedy(new, before), name, key))
    return Slowdowns(findings, notes)


def _models(plan: Mapping[str, Any]) -> Iterable[Any]:
    for instance in plan.get("instances") or []:
        for model in instance.get("models") or []:
            yield instance.get("name"), instance, model


def _told(name: str, new: Any, before: Any) -> str:
    (speed, now), (earlier, then) = new, before
    return "%s generates %.1f tokens/s with Ollama %s, and had %.1f with Ollama %s when %s was proven" % (
        name,
        speed,
        now.plan.get("ollama_version"),
        earlier,
        then.plan.get("ollama_version"),
        "the plan before" if then.number is None else "plan %d" % then.number,
    )


def _remedy(new: ProvenPlan, before: ProvenPlan) -> str:
    versions = (new.plan.get("ollama_version"), before.plan.get("ollama_version"))
    keep = "" if versions[0] == versions[1] else " Keep Ollama %s, or use another release." % versions[1]
    return (
        "Look for other work on the GPUs, and for GPUs that are slowed down by heat or power (nvidia-smi -q -d "
        "PERFORMANCE), then run the role again.%s Where the new speed is good enough, raise "
        "ollama_multigpu_slowdown_allowed." % keep
    )


def _decisive(instance: Mapping[str, Any], model: Mapping[str, Any]) -> Dict[str, Any]:
    """What decides how fast a model generates, by its name in a sentence."""
    environment = instance.get("environment") or {}
    devices = (model.get("predicted") or {}).get("devices") or []
    return {
        "the layers on the GPUs": {device["uuid"]: device.get("layers") for device in devices},
        "its content": model.get("planned_digest"),
        "its adapters": [one.get("digest") for one in model.get("adapters") or ()],
        "the layers whose experts are in the host's memory": model.get("cpu_experts"),
        "the KV cache type": model.get("kv_cache_type"),
        "flash attention": environment.get("OLLAMA_FLASH_ATTENTION"),
        "speculative decoding": model.get("speculation"),
    }


def _other(plan: Mapping[str, Any], model: Mapping[str, Any]) -> Dict[str, Any]:
    """What does not decide it and is said all the same."""
    reports = (one for one in plan.get("models") or [] if one.get("name") == model.get("name"))
    return {
        "the context length": model.get("context_length"),
        "the batch": (model.get("predicted") or {}).get("ubatch"),
        "the number of slots": model.get("parallel"),
        "the strategy": next((report.get("strategy") for report in reports), None),
    }


def _differences(new: Mapping[str, Any], before: Mapping[str, Any]) -> List[str]:
    """What differs, in words. What one of the plans does not say (None) differs from what the other says, but for the
    content of a model: a registry may not have told its digest."""
    changed = [name for name in new if new[name] != before[name]]
    changed = [name for name in changed if name != "its content" or (new[name] and before[name])]
    return [
        "%s (%s instead of %s)" % (name, new[name], before[name])
        if isinstance(new[name], (int, str)) and isinstance(before[name], (int, str))
        else name
        for name in changed
    ]
