# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What this Ollama version would do without any setting, and what each setting does on it: `default_behaviour`."""

from __future__ import annotations

from typing import Any, Sequence

from ...model.schema import ModelFacts
from ...releases.release import Release
from ...releases.shapes import LoadRequest
from ..ask import inherited
from ..search.fitting import Fitting
from ..shapes import SPLIT, Gpu, Placed

# Settings that users believe to force several GPUs or to reserve memory; the plan says about each what it does.
FOLKLORE = ("num_gpu", "OLLAMA_SCHED_SPREAD", "OLLAMA_GPU_OVERHEAD")


def default_behaviour(fitting: Fitting, facts: ModelFacts, gpus: Sequence[Gpu]) -> dict[str, Any]:
    """What the release decides for a model on this host without any setting, as the plan's `default_behaviour`.

    The model's own parameters count, as they do for Ollama. `outcome` is None where the load fails, and `error` says
    why.

    Args:
        fitting: the release that is planned for, and the memory of GPUs and host that it sees.
        facts: the model's facts.
        gpus: the GPUs that the plan may use.
    """
    seen = tuple(gpu.for_release(fitting.seen_bytes(gpu, gpu.available_bytes)) for gpu in gpus)
    options = inherited.own_options(facts.parameters)
    decision = fitting.release.decide(LoadRequest(facts, seen, options, system=fitting.system))
    wrong = inherited.fault(facts.parameters)
    error = 'option "%s" must be %s' % wrong if wrong else decision.error
    return {
        "outcome": None if error else decision.outcome,
        "error": error,
        "gpu_uuids": [gpus[index].uuid for index in decision.gpus],
        "layers": decision.layers,
        "context_length": decision.context_length,
        "batch": decision.batch,
        "predicted_bytes": decision.predicted_bytes,
    }


def settings_with_effects(
    release: Release,
    facts: ModelFacts,
    placements: Sequence[Placed],
    parameters: dict[str, Any],
    environment: dict[str, str],
    gpu_count: int = 0,
) -> list[dict[str, Any]]:
    """What each setting of a model does on this release: list of {name, value, effect}.

    Args:
        placements: where the plan puts the model (may be empty).
        parameters: parameters of the optimized model.
        environment: service variables of its instance, the user's among them.
        gpu_count: number of GPUs that the plan may use.
    """
    several = any(len(placed.gpus) > 1 for placed in placements)
    values: dict[str, Any] = {name: None for name in FOLKLORE}
    values.update({name: value for name, value in parameters.items() if name in release.effects and value is not None})
    values.update({name: value for name, value in environment.items() if name in release.effects})
    settings = []
    for name in sorted(values):
        effect = release.effects[name]
        if name == "num_gpu" and (values[name] or 0) > facts.block_count:
            effect = release.effects["num_gpu_all"]
        if name == "OLLAMA_SCHED_SPREAD" and placements and not several:
            effect = "no effect where the instance sees one GPU only"
        if name == "OLLAMA_SCHED_SPREAD" and gpu_count > release.most_gpus and not values[name]:
            effect += "; with the %d GPUs of this host the load ends, as a process can use at most %d" % (
                gpu_count,
                release.most_gpus,
            )
        settings.append({"name": name, "value": values[name], "effect": effect})
    return settings


def differs(behaviour: dict[str, Any], placed: Placed) -> bool:
    """Whether this Ollama version would without any setting choose other GPUs than the plan."""
    if behaviour["outcome"] != placed.outcome:
        return True
    return placed.outcome == SPLIT and set(placed.uuids) != set(behaviour["gpu_uuids"])
