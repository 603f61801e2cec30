# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a plan takes away from models that serve by the applied plan: GPUs, instances, layers on GPUs."""

from __future__ import annotations

import dataclasses
from typing import Any, Sequence


@dataclasses.dataclass(frozen=True)
class _Serving:
    """How a plan serves a model: its instances, the GPUs that they have together, and the least layers on GPUs."""

    instances: int
    uuids: frozenset[str]
    gpu_layers: int
    total_layers: int


def steps_down(applied_instances: Sequence[dict[str, Any]], instances: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about models that would have fewer GPUs, instances or layers on GPUs than now.

    Args:
        applied_instances: `instances` of the applied plan as applied.sound gives it.
        instances: `instances` of the new plan. Models that it does not have are not spoken of: the user left them out.
    """
    before, after = _by_model(applied_instances), _by_model(instances)
    return [
        "%s steps down: %s." % (name, " and ".join(steps))
        for name in sorted(before)
        for steps in [_steps(before[name], after[name]) if name in after else []]
        if steps
    ]


def _by_model(instances: Sequence[dict[str, Any]]) -> dict[str, _Serving]:
    found: dict[str, list[dict[str, Any]]] = {}
    for instance in instances:
        for model in instance.get("models") or []:
            if model.get("create_as"):
                found.setdefault(model["create_as"], []).append(model.get("predicted") or {})
    return {name: _serving(predicted) for name, predicted in found.items()}


def _serving(predicted: Sequence[dict[str, Any]]) -> _Serving:
    devices = [device for one in predicted for device in one.get("devices") or []]
    return _Serving(
        instances=len(predicted),
        # A GPU that is visible and takes no layer does not serve the model.
        uuids=frozenset(device["uuid"] for device in devices if device.get("layers") != 0),
        gpu_layers=min(int(one.get("gpu_layers") or 0) for one in predicted),
        total_layers=max(int(one.get("total_layers") or 0) for one in predicted),
    )


def _steps(before: _Serving, after: _Serving) -> list[str]:
    gpus_before, gpus_after = len(before.uuids), len(after.uuids)
    steps = []
    if gpus_before and not gpus_after:
        steps.append("it runs on %s now and would run on the CPU, which is much slower" % _gpus(gpus_before))
    elif gpus_after < gpus_before:
        steps.append("it runs on %s now and would run on %s" % (_gpus(gpus_before), _gpus(gpus_after)))
    if gpus_after and after.gpu_layers < min(before.gpu_layers, after.total_layers):
        steps.append(
            "it has %d of %d layers on GPUs now and would have %d there, the rest on the CPU"
            % (before.gpu_layers, before.total_layers, after.gpu_layers)
        )
    if after.instances < before.instances:
        steps.append("it has %d instances now and would have %d" % (before.instances, after.instances))
    return steps


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else "%d GPUs" % count
