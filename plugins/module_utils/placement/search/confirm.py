# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a release decides for a load with the settings of a plan.

Releases before 0.30 place models by their own estimate: the plan can only hold what that estimate agrees to.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

from ...memory import adapters
from ...releases.release import Release
from ...releases.shapes import Decision, LoadRequest, PlannedLayers, PlannedLoad
from ..shapes import CPU, Gpu, GpuRoom, Layout, Placed, Predicted, Wanted
from .fitting import Fitting

NO_LAYER = "The model fits, but one of these GPUs would get no layer"
MOST_RESERVES = 16  # reserves that are tried for a model that is partly on the CPU


def confirmed(fitting: Fitting, wanted: Wanted, placed: Placed, allowance_bytes: int = 0) -> Placed:
    """A placement as the release itself would make it on these GPUs, with the settings that the plan writes.

    Args:
        fitting: what a model takes.
        wanted: the model.
        placed: its placement with the split by free memory.
        allowance_bytes: what may be missing of the headroom.

    Returns:
        the placement with the layers of the release's own decision. Where that leaves layers on the CPU or never
        ends, `shortfall_bytes` is not 0 and `refusal` says why.
    """
    predicted = placed.predicted
    options = options_of(wanted, predicted.context_length)
    decision = _decide(fitting, wanted, predicted.rooms, options, fitting.variables)
    refusal = _refusal(fitting.release, decision, predicted.total_layers)
    layers = () if refusal else _layers(decision, len(predicted.devices))
    if refusal is None and not all(layers):
        refusal = NO_LAYER
    if refusal:
        return dataclasses.replace(placed, refusal=refusal, shortfall_bytes=max(placed.shortfall_bytes, 1))
    again = fitting.predict(wanted, predicted.rooms, predicted.context_length, Layout(layers))
    return dataclasses.replace(placed, predicted=again, shortfall_bytes=again.shortfall(allowance_bytes))


def partial_layout(
    fitting: Fitting, wanted: Wanted, predicted: Predicted, num_gpu: Optional[int] = None
) -> tuple[Layout, int]:
    """The release's own decision where some layers may stay on the CPU.

    The release knows no headroom and counts less than the engine takes. OLLAMA_GPU_OVERHEAD makes up for both.

    Args:
        fitting: what a model takes.
        wanted: the model.
        predicted: what it takes on these GPUs; their room and the context count.
        num_gpu: the user's number of layers, or None.

    Returns:
        (layout with the layers per GPU, bytes for OLLAMA_GPU_OVERHEAD). Where the release would not load the model, the
        layout has no layer on a GPU.
    """
    rooms, context = predicted.rooms, predicted.context_length
    options = options_of(wanted, context)
    if num_gpu is not None:
        options["num_gpu"] = num_gpu
    reserve = max(wanted.headroom_bytes, int(fitting.variables.get("OLLAMA_GPU_OVERHEAD") or 0))
    for dummy in range(MOST_RESERVES):
        variables = dict(fitting.variables, OLLAMA_GPU_OVERHEAD=str(reserve))
        decision = _decide(fitting, wanted, rooms, options, variables)
        if decision.hangs or decision.error or not sum(decision.layers or ()):
            break
        layers = _layers(decision, len(rooms))
        layout = Layout(layers, sum(layers))
        found = fitting.predict(wanted, rooms, context, layout)
        missing = wanted.headroom_bytes - min(device.spare_bytes for device in found.devices)
        if missing <= 0:
            return layout, reserve
        reserve += missing
    return Layout((0,) * len(rooms), 0), 0


def planned_load(
    wanted: Wanted, placed: Placed, variables: dict[str, str], reserved: Optional[dict[str, int]] = None
) -> PlannedLoad:
    """The load of a model that is placed, as `Release.evicts` takes it.

    Args:
        wanted: the model.
        placed: its placement.
        variables: the user's service variables.
        reserved: {UUID: bytes that models of other instances may take}.
    """
    predicted = placed.predicted
    reserved = reserved or {}
    asked = dataclasses.replace(wanted, ubatch=wanted.ubatch or placed.batch)
    return PlannedLoad(
        LoadRequest(
            wanted.facts,
            tuple(gpu.for_release(gpu.available_bytes - reserved.get(gpu.uuid, 0)) for gpu in placed.gpus),
            options_of(asked, predicted.context_length),
            dict(variables, **environment_of(wanted, placed.gpus)),
        ),
        device_bytes=tuple(device.total_bytes for device in predicted.devices),
        layers=predicted.layers,
        total_layers=predicted.total_layers,
    )


def options_of(wanted: Wanted, context_length: int) -> dict[str, Any]:
    """The parameters that the plan gives the model, as far as they matter to the placement."""
    options = {"num_ctx": context_length}
    if wanted.ubatch:
        options["num_batch"] = wanted.ubatch
    if wanted.drafted is not None:
        options["draft_num_predict"] = wanted.drafted
    return options


def environment_of(wanted: Wanted, gpus: Sequence[Gpu]) -> dict[str, str]:
    """The service variables that a model needs whatever the release, but for those that name the GPUs."""
    variables = {"OLLAMA_NUM_PARALLEL": str(wanted.parallel)}
    if wanted.kv_cache_type:
        variables["OLLAMA_KV_CACHE_TYPE"] = wanted.kv_cache_type
    if wanted.flash_attention is not None:
        variables["OLLAMA_FLASH_ATTENTION"] = "1" if wanted.flash_attention else "0"
    if len(gpus) > 1:
        variables["OLLAMA_SCHED_SPREAD"] = "1"
    return variables


def settings_of(wanted: Wanted, placed: Placed, release: Release, forced: bool) -> dict[str, str]:
    """Server-wide variables that a model needs; models with the same ones can share an instance.

    Args:
        wanted: the model.
        placed: its placement.
        release: the release that is planned for.
        forced: whether num_gpu 999 is written.
    """
    planned = PlannedLayers(
        outcome=placed.outcome if placed.gpus else CPU,
        tensor_split=placed.tensor_split,
        reserve_bytes=placed.reserve_bytes,
        headroom_bytes=placed.predicted.headroom_bytes,
        projector_bytes=wanted.facts.projector_bytes,
        adapter_bytes=adapters.total_bytes(wanted.facts),
        cpu_allowed=wanted.allow_cpu_offload,
        forced=forced,
        cpu_experts=wanted.cpu_experts if placed.gpus else None,
    )
    settings = dict(environment_of(wanted, placed.gpus), **release.layer_settings(planned))
    if not wanted.resident:
        settings["OLLAMA_KEEP_ALIVE"] = str(wanted.keep_alive)
    return settings


def _decide(
    fitting: Fitting, wanted: Wanted, rooms: Sequence[GpuRoom], options: dict[str, Any], variables: dict[str, str]
) -> Decision:
    return fitting.release.decide(
        LoadRequest(
            wanted.facts,
            tuple(room.gpu.for_release(fitting.seen_bytes(room.gpu, room.room_bytes)) for room in rooms),
            options,
            dict(variables, **environment_of(wanted, [room.gpu for room in rooms])),
            system=fitting.system,
        )
    )


def _layers(decision: Decision, count: int) -> tuple[int, ...]:
    """Layers per GPU in the order of the rooms that were asked for; the release names GPUs by their places there."""
    layers = dict(zip(decision.gpus, decision.layers or ()))
    return tuple(layers.get(place, 0) for place in range(count))


def _refusal(release: Release, decision: Decision, total: int) -> Optional[str]:
    if decision.hangs:
        return "Ollama %s would search for a layout on these GPUs without end" % release.version
    if decision.error:
        return "Ollama %s would refuse it: %s" % (release.version, decision.error)
    layers = sum(decision.layers or ())
    if decision.outcome not in ("single", "split") or layers < total:
        return (
            "Ollama %s would by its own estimate put only %d of %d layers on these GPUs, and no setting of a plan "
            "changes that" % (release.version, layers, total)
        )
    return None
