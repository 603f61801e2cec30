# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Put the memory that the engine itself expects into a plan, in place of the predicted figures. Pure."""

from __future__ import annotations

from typing import Any

from ..common import secrets
from ..common.sizes import MIB, gib
from .memory_table import HOST, DeviceMemory

#: `basis` of a model's `predicted` that holds the engine's figures.
MEASURED = "measured"
#: The weights are known exactly from the header: a table with less than this share of them is of another model.
LEAST_WEIGHTS = 0.9
#: The engine rounds each of three figures to a MiB: a smaller difference says nothing.
_ROUNDING_BYTES = 4 * MIB


def reason_not_to_measure(plan: dict[str, Any], model: dict[str, Any]) -> str | None:
    """Return why a model of a plan cannot be measured, None if it can: it needs llama-server and all layers on GPUs."""
    if plan["engine"] != "llama-server":
        return "the engine of Ollama %s prints no memory table; 0.30 and later do" % plan["ollama_version"]
    if not model["predicted"]["devices"] or not model["predicted"]["fully_on_gpu"]:
        return "it is not wholly on GPUs, and the engine would divide it by the memory that is free when it loads"
    return None


def by_uuid(predicted: dict[str, Any], table: dict[str, DeviceMemory]) -> dict[str, DeviceMemory]:
    """Return the engine's table by the UUIDs of the plan: the engine numbers the GPUs in the order of the plan.

    Args:
        predicted: of a plan's model.
        table: {"CUDA0": memory, ..., "Host": memory} (dry_run.measure).

    Raises:
        ValueError: the table has another number of GPUs; one sentence.
    """
    names = sorted((name for name in table if name != HOST), key=_number)
    devices = predicted["devices"]
    if len(names) != len(devices):
        raise ValueError("the engine sees %d GPUs, but the plan has %d" % (len(names), len(devices)))
    return {device["uuid"]: table[names[place]] for place, device in enumerate(devices)}


def check_weights(predicted: dict[str, Any], measured: dict[str, DeviceMemory]) -> None:
    """Raise ValueError, with one sentence, where the measured weights are so few that they are of another model.

    Args:
        predicted: of a plan's model.
        measured: memory by UUID.
    """
    weights = sum(memory.weight_bytes for memory in measured.values())
    wanted = sum(device["weight_bytes"] for device in predicted["devices"])
    if weights + len(measured) * MIB < LEAST_WEIGHTS * wanted:  # the engine leaves out what is less than a MiB
        raise ValueError(
            "the engine reports %s of weights, but the model has %s, so it is another model"
            % (gib(weights), gib(wanted))
        )


def with_figures(predicted: dict[str, Any], measured: dict[str, DeviceMemory]) -> tuple[dict[str, Any], list[str]]:
    """Return a model's `predicted` with the engine's bytes.

    The projector, adapters and the CUDA context of the process are not in the engine's table: they stay as predicted.

    Args:
        predicted: of a plan's model; not changed.
        measured: memory by UUID, for every GPU of `predicted`.

    Returns:
        (predicted, notes); the notes say on which GPU the engine expects more than was predicted.
    """
    devices, notes = [], []
    for device in predicted["devices"]:
        memory = measured[device["uuid"]]
        figures = {
            "weight_bytes": memory.weight_bytes,
            "kv_bytes": memory.kv_bytes,
            "compute_bytes": memory.compute_bytes,
            "draft_bytes": memory.draft_bytes,
        }
        total = sum(figures.values()) + device["projector_bytes"] + device["overhead_bytes"]
        total += device.get("adapter_bytes") or 0
        figures["draft_compute_bytes"] = memory.draft_compute_bytes
        more = total - device["total_bytes"]
        if more > _ROUNDING_BYTES:
            left = device["room_bytes"] - total
            notes.append(
                "%s more on GPU %s than predicted, which leaves %s free"
                % (gib(more), device["uuid"], gib(left) if left >= 0 else "nothing")
            )
        devices.append(dict(device, total_bytes=total, **figures))
    return dict(predicted, devices=devices, basis=MEASURED, estimated=False), notes


def applied_figures(
    applied_plan: Any, plan: dict[str, Any], instance: dict[str, Any], model: dict[str, Any]
) -> dict[str, DeviceMemory] | None:
    """Return what the applied plan holds as measured for the same model and settings.

    Args:
        applied_plan: read from the host; it may be None, empty or damaged.
        plan: the new plan; it must be for the same release.
        instance: of the new plan; the GPUs and the environment must be the same.
        model: of that instance; the digest, slots, context length, batch and layers must be the same.

    Returns:
        Memory by UUID; None where the applied plan holds none.
    """
    try:
        for other in applied_plan["instances"] if applied_plan["ollama_version"] == plan["ollama_version"] else []:
            for before in other["models"] if _instance_key(other) == _instance_key(instance) else []:
                if before["predicted"]["basis"] == MEASURED and _model_key(before) == _model_key(model):
                    return {device["uuid"]: _memory_of(device) for device in before["predicted"]["devices"]}
    except (KeyError, TypeError):
        pass  # damaged, or written by another version of this collection
    return None


def missing_bytes(plan: dict[str, Any]) -> dict[str, int]:
    """Return {uuid: bytes} of the GPUs whose models together take more than the plan has available there."""
    left = {gpu["uuid"]: gpu["available_bytes"] for gpu in plan["gpus"]}
    for instance in plan["instances"]:
        for model in instance["models"]:
            for device in model["predicted"]["devices"]:
                left[device["uuid"]] -= device["total_bytes"]
    return {uuid: -size for uuid, size in left.items() if size < 0}


def infeasible(plan: dict[str, Any], missing: dict[str, int]) -> dict[str, Any]:
    """Return the plan as one that is not feasible.

    Args:
        plan: not changed.
        missing: bytes by UUID (missing_bytes).
    """
    reports = []
    for report in plan["models"]:
        own = _uuids_of(plan, report["name"])
        short = sum(size for uuid, size in missing.items() if uuid in own)
        if not short:
            reports.append(report)
            continue
        reason = "It does not fit: the engine itself expects %d bytes (%s) more than there are on %s." % (
            short,
            gib(short),
            ", ".join("GPU %s" % uuid for uuid in missing if uuid in own),
        )
        remedies = ["context_length: ask for fewer tokens", "kv_cache_type: q8_0", "more GPUs"]
        reports.append(dict(report, fits=False, shortfall_bytes=short, reason=reason, remedies=remedies))
    return dict(plan, feasible=False, instances=[], models=reports)


def _uuids_of(plan: dict[str, Any], name: str) -> set[str]:
    """Return the GPUs of all replicas of a model."""
    return {
        device["uuid"]
        for instance in plan["instances"]
        for model in instance["models"]
        if model["name"] == name
        for device in model["predicted"]["devices"]
    }


def _memory_of(device: dict[str, Any]) -> DeviceMemory:
    """Return the memory of a device of a plan. Raises TypeError where a figure is no number."""
    figures = [device[key] + 0 for key in ("weight_bytes", "kv_bytes", "compute_bytes")]
    draft = [device.get(key, 0) + 0 for key in ("draft_bytes", "draft_compute_bytes")]
    return DeviceMemory(sum(figures), *figures, *draft)


def _instance_key(instance: dict[str, Any]) -> tuple:
    return instance["gpu_uuids"], secrets.shown_environment(instance["environment"])


def _model_key(model: dict[str, Any]) -> tuple:
    predicted = model["predicted"]
    layers = [(device["uuid"], device["layers"]) for device in predicted["devices"]]
    digests = model["digest"], model.get("planned_digest")
    settings = model["context_length"], model["parallel"], predicted["ubatch"], model.get("speculation")
    adapters = [one["digest"] for one in model.get("adapters") or ()]
    return model["from"], *digests, *settings, layers, adapters


def _number(name: str) -> int:
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits) if digits else 0
