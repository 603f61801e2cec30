# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The keys that a plan has for GPUs and for what is predicted."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.entries import gpu_entry, predicted_entry

from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, gpu, placed


def test_what_is_predicted_has_an_entry_for_each_gpu():
    entry = predicted_entry(placed((gpu(0), 20 * GIB, 22 * GIB), batch=1024))
    assert list(entry) == [
        "gpu_layers",
        "total_layers",
        "fully_on_gpu",
        "host_bytes",
        "host_compute_bytes",
        "host_total_bytes",
        "ubatch",
        "context_length",
        "headroom_bytes",
        "devices",
        "basis",
        "estimated",
        "pinned_batch",
    ]
    assert entry["basis"] == "predicted" and entry["pinned_batch"] == 1024
    assert entry["devices"] == [
        {
            "uuid": "GPU-0",
            "layers": 4,
            "weight_bytes": 20 * GIB - 2 * MIB,
            "kv_bytes": MIB,
            "compute_bytes": MIB,
            "offload_scratch_bytes": 0,
            "projector_bytes": 0,
            "adapter_bytes": 0,
            "draft_bytes": 0,
            "draft_compute_bytes": 0,
            "overhead_bytes": 0,
            "total_bytes": 20 * GIB,
            "room_bytes": 22 * GIB,
        }
    ]


def test_a_gpu_is_named_by_uuid_index_number_and_address():
    entry = gpu_entry(gpu(1, foreign_bytes=GIB))
    assert (entry["uuid"], entry["index"], entry["number"], entry["pci_bus_id"]) == ("GPU-1", 1, 1, "0000:02:00.0")
    assert (entry["available_bytes"], entry["foreign_bytes"]) == (23 * GIB, GIB)
    assert "compute_capability" not in entry
