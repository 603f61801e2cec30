# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The GPUs of a host: what the plan gives to its models beside what NVML sees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.gpu_devices import devices_by_uuid, devices_of
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.names import number_of, short_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.schema import NO_DEVICES, OK, UNUSABLE
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.answers import Answers
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import GpuReport, MemoryParts
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import (
    entries,
    mapping,
    mappings,
    name,
    text,
    whole,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import GpuMemory, gpu_labels, gpu_memory


def gpu_reports(answers: Answers) -> list[GpuReport]:
    """Return the GPUs of a host: those of its plan first, then those that only NVML lists."""
    plan = answers.plan
    planned = {gpu.uuid: gpu for gpu in gpu_memory(dict(plan))} if plan.get("gpus") else {}
    seen = devices_by_uuid(dict(answers.inventory))
    listed = {entry.get("uuid"): entry for entry in mappings(plan.get("gpus"))}
    left_out = {entry.get("uuid"): entry for entry in mappings(plan.get("left_out"))}
    labels = gpu_labels(dict(plan))
    uuids = list(dict.fromkeys([*planned, *seen, *left_out]))
    held, silent = _held_by_models(answers.evidence), _without_processes(answers.inventory)
    is_read = answers.inventory.get("state") in (OK, NO_DEVICES)
    return [
        _gpu(
            uuid,
            labels.get(uuid) or _label(mapping(seen.get(uuid))),
            planned.get(uuid),
            mapping(seen.get(uuid)),
            mapping(listed.get(uuid) or left_out.get(uuid)),
            _observed(mapping(seen.get(uuid)), held.get(uuid, Held()), tells_processes=uuid not in silent),
            is_gone=is_read and uuid in planned and uuid not in seen,
        )
        for uuid in uuids
    ]


def _without_processes(inventory: Mapping[str, Any]) -> set[Any]:
    """UUIDs of the GPUs and MIG devices whose processes NVML does not list, or lists without success."""
    return {
        device.get("uuid")
        for gpu in mappings(inventory.get("gpus"))
        if "processes" in [*entries(gpu.get("unsupported")), *mapping(gpu.get("errors"))]
        for device in devices_of(gpu)
    }


def _label(seen: Mapping[str, Any]) -> str:
    """What a GPU is called that the plan does not know."""
    number = number_of(seen)
    return "GPU %s" % ("?" if number is None else number)


def _gpu(
    uuid: Any,
    label: str,
    planned: Optional[GpuMemory],
    seen: Mapping[str, Any],
    entry: Mapping[str, Any],
    observed: Optional[MemoryParts],
    is_gone: bool,
) -> GpuReport:
    health = mapping(seen.get("health"))
    notes = [text(reason) for reason in entries(health.get("reasons"))]
    if is_gone:
        notes.append("The plan in force has it, and the driver does not list it.")
    if planned is None and entry.get("reason"):
        notes.insert(0, "The plan leaves it out: %s." % text(entry["reason"]).rstrip("."))
    total = whole(planned.total) if planned else whole(mapping(seen.get("memory")).get("total_bytes"))
    return GpuReport(
        uuid=name(uuid),
        label=name(label),
        name=name(short_name(entry.get("name") or seen.get("name") or "")),
        pci_bus_id=name(entry.get("pci_bus_id") or seen.get("pci_bus_id")),
        total_bytes=total,
        predicted=_predicted(planned) if planned else None,
        observed=observed,
        models=[name(one) for one in planned.models] if planned else [],
        health=name(health.get("state") or (UNUSABLE if is_gone else OK)),
        notes=notes,
    )


def _predicted(gpu: GpuMemory) -> MemoryParts:
    return MemoryParts(
        models_bytes=gpu.planned,
        weights_bytes=gpu.weights,
        kv_bytes=gpu.kv,
        compute_bytes=gpu.compute,
        others_bytes=gpu.others,
        free_bytes=max(0, gpu.total - gpu.planned - gpu.others),
    )


@dataclass(frozen=True)
class Held:
    """What evidence says that the models of the plan hold on a GPU, None where it says nothing.

    Attributes:
        models_bytes: by NVML.
        kv_bytes: of that KV caches, by the log of the engines.
        compute_bytes: compute buffers by these logs, with the CUDA contexts.
    """

    models_bytes: Optional[int] = None
    kv_bytes: Optional[int] = None
    compute_bytes: Optional[int] = None


def _observed(seen: Mapping[str, Any], held: Held, tells_processes: bool) -> Optional[MemoryParts]:
    """What NVML sees on a GPU.

    Args:
        seen: the GPU in the fact gpu_inventory.
        held: of evidence.
        tells_processes: whether NVML lists its processes.
    """
    memory = mapping(seen.get("memory"))
    total, free = whole(memory.get("total_bytes")), whole(memory.get("free_bytes"))
    by_process = _held_by_units(seen) if tells_processes else None
    models = held.models_bytes if by_process is None else by_process
    if models is None and free is None:
        return None
    others = None if None in (total, free, models) else max(0, (total or 0) - (free or 0) - (models or 0))
    kv, compute = held.kv_bytes, held.compute_bytes
    if models is None or kv is None or compute is None or kv + compute > models:
        return MemoryParts(models_bytes=models, others_bytes=others, free_bytes=free)
    return MemoryParts(models, models - kv - compute, kv, compute, others, free)


def _held_by_units(seen: Mapping[str, Any]) -> Optional[int]:
    """Bytes of the processes of the instances' units; None where NVML does not tell those of one of them."""
    processes = mappings(seen.get("processes"))
    held = [one.get("used_bytes") for one in processes if paths.instance_of(str(one.get("unit") or "")) is not None]
    known = [size for size in map(whole, held) if size is not None]
    return sum(known) if seen and len(known) == len(held) else None


def _held_by_models(evidence: Mapping[str, Any]) -> dict[str, Held]:
    """{uuid: what evidence says of all models together}; a part that is not known of one is not known."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for instance in mappings(evidence.get("instances")):
        for model in mappings(instance.get("models")):
            for device in mappings(model.get("devices")):
                found.setdefault(str(device.get("uuid")), []).append(device)
    return {
        uuid: Held(
            _sum(devices, "observed_bytes"),
            _sum(devices, "engine_kv_bytes"),
            _sum(devices, "engine_compute_bytes", "context_bytes"),
        )
        for uuid, devices in found.items()
    }


def _sum(devices: list[Mapping[str, Any]], *keys: str) -> Optional[int]:
    sizes = [whole(device.get(key)) for device in devices for key in keys]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
