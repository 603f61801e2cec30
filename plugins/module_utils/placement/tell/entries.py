# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parts of a plan as JSON: its GPUs, and what is predicted for a model."""

from __future__ import annotations

from typing import Any

from ..left_out import LeftOutGpu
from ..shapes import Gpu, Placed, PredictedDevice


def gpu_entry(gpu: Gpu) -> dict[str, Any]:
    """An entry of the plan's `gpus`."""
    return {
        "uuid": gpu.uuid,
        "index": gpu.index,
        "number": gpu.number,
        "pci_bus_id": gpu.pci_bus_id,
        "name": gpu.name,
        "total_bytes": gpu.total_bytes,
        "available_bytes": gpu.available_bytes,
        "foreign_bytes": gpu.foreign_bytes,
        "memory_kind": "unified" if gpu.unified else "dedicated",
    }


def left_out_entry(out: LeftOutGpu) -> dict[str, Any]:
    """An entry of the plan's `left_out`."""
    gpu, alone = out.gpu, out.alone
    return {
        "uuid": out.uuid,
        "index": gpu.index if gpu else None,
        "number": gpu.number if gpu else None,
        "pci_bus_id": gpu.pci_bus_id if gpu else None,
        "name": gpu.name if gpu else None,
        "cause": out.cause,
        # A fault of a GPU that is not selected anyhow may be another one at each run.
        "reason": out.reason if out.cause != "selectors" else "it is not selected",
        "until": alone.until if alone else None,
        "selector": alone.selector if alone else None,
    }


def predicted_entry(placed: Placed) -> dict[str, Any]:
    """The `predicted` of a model of a plan's instance."""
    predicted = placed.predicted
    return {
        "gpu_layers": predicted.gpu_layers,
        "total_layers": predicted.total_layers,
        "fully_on_gpu": predicted.fully_on_gpu,
        "host_bytes": predicted.host_bytes,
        "host_compute_bytes": predicted.host_compute_bytes,
        "host_total_bytes": predicted.host_total_bytes,
        "ubatch": predicted.ubatch,
        "context_length": predicted.context_length,
        "headroom_bytes": predicted.headroom_bytes,
        "devices": [_device_entry(device) for device in predicted.devices],
        "basis": "predicted",
        "estimated": predicted.estimated,
        "pinned_batch": placed.batch,
    }


def _device_entry(device: PredictedDevice) -> dict[str, Any]:
    return {
        "uuid": device.gpu.uuid,
        "layers": device.layers,
        "weight_bytes": device.weight_bytes,
        "kv_bytes": device.kv_bytes,
        "compute_bytes": device.compute_bytes,
        "offload_scratch_bytes": device.offload_scratch_bytes,
        "projector_bytes": device.projector_bytes,
        "adapter_bytes": device.adapter_bytes,
        "draft_bytes": device.draft_bytes,
        "draft_compute_bytes": device.draft_compute_bytes,
        "overhead_bytes": device.overhead_bytes,
        "total_bytes": device.total_bytes,
        "room_bytes": device.room_bytes,
    }
