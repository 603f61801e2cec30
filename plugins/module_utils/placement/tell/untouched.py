# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What this Ollama version would do if left alone, and what each setting does on it: the plan's `default_behaviour`."""

from __future__ import annotations

# Settings that users believe to force several GPUs or to reserve memory; the plan says about each what it does.
FOLKLORE = ("num_gpu", "OLLAMA_SCHED_SPREAD", "OLLAMA_GPU_OVERHEAD")


def default_behaviour(release, facts, gpus, placements, parameters, environment):
    """The decision of the version without any setting, and the effect of the settings.

    Args:
        release: the Release planned for.
        facts: dict of model_info, completed.
        gpus: the host's usable GPUs with `available_bytes`.
        placements: where the plan puts the model (may be empty).
        parameters: parameters of the optimized model.
        environment: service variables of its instance, the user's among them.
    """
    devices = [
        {
            "uuid": gpu["uuid"],
            "total_bytes": gpu["total_bytes"],
            "free_bytes": gpu["available_bytes"],
            "compute_capability": gpu["compute_capability"],
        }
        for gpu in gpus
    ]
    decision = release.decide(facts, devices)
    return {
        "outcome": decision["outcome"],
        "gpu_uuids": [gpus[index]["uuid"] for index in decision["gpus"]],
        "layers": decision["layers"],
        "context_length": decision["context_length"],
        "batch": decision["batch"],
        "predicted_bytes": decision["predicted_bytes"],
        "settings": _settings(release, facts, placements, parameters, environment),
    }


def _settings(release, facts, placements, parameters, environment):
    several = any(len(placed["gpus"]) > 1 for placed in placements)
    values = {name: None for name in FOLKLORE}
    values.update({name: value for name, value in parameters.items() if name in release.effects})
    values.update({name: value for name, value in environment.items() if name in release.effects})
    settings = []
    for name in sorted(values):
        effect = release.effects[name]
        if name == "num_gpu" and (values[name] or 0) > facts.block_count:
            effect = release.effects["num_gpu_all"]
        if name == "OLLAMA_SCHED_SPREAD" and placements and not several:
            effect = "no effect where the instance sees one GPU only"
        settings.append({"name": name, "value": values[name], "effect": effect})
    return settings


def differs(behaviour, placements):
    """Whether the version left alone would choose other GPUs than the plan."""
    if not placements:
        return False
    planned = {gpu["uuid"] for gpu in placements[0]["gpus"]}
    outcome = placements[0]["outcome"]
    if outcome in ("single", "split"):
        return behaviour["outcome"] != outcome or (outcome == "split" and planned != set(behaviour["gpu_uuids"]))
    return behaviour["outcome"] != outcome
