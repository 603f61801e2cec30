# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama reads its service's variables."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import variable_values


def test_environment_is_read_as_ollama_reads_it():
    assert variable_values.boolean({"X": "fales"}, "X") is True
    assert variable_values.boolean({"X": '"0"'}, "X") is False
    assert variable_values.number({"X": "many"}, "X", 7) == 7
    two = [{"uuid": "GPU-aa"}, {"uuid": "GPU-bb"}]
    assert variable_values.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "1,0"}) == [(1, "1"), (0, "0")]
    assert variable_values.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "GPU-bb,7,0"}) == [(1, "GPU-bb")]
    assert variable_values.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "-1"}) == []


def test_cuda_shows_one_mig_device_and_then_no_other_gpu():
    listed = [{"uuid": "GPU-aa"}, {"uuid": "MIG-bb"}, {"uuid": "MIG-cc"}]
    assert variable_values.visible_gpus(listed, {}) == [(1, "0")]
    assert variable_values.visible_gpus(listed, {"CUDA_VISIBLE_DEVICES": "MIG-cc,MIG-bb"}) == [(2, "MIG-cc")]
    assert variable_values.visible_gpus(listed, {"CUDA_VISIBLE_DEVICES": "GPU-aa"}) == [(0, "GPU-aa")]
