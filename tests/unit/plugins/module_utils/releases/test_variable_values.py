# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama reads its service's variables."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import variable_values


def test_environment_is_read_as_ollama_reads_it():
    assert variable_values.boolean({"X": "fales"}, "X") is True
    assert variable_values.boolean({"X": '"0"'}, "X") is False
    assert variable_values.number({"X": "many"}, "X", 7) == 7


def test_the_gpus_that_the_service_sees_are_those_that_cuda_shows():
    two = [{"uuid": "GPU-aa"}, {"uuid": "GPU-bb"}]
    assert variable_values.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": "GPU-bb,0"}) == [(1, "GPU-bb"), (0, "0")]
    assert variable_values.visible_gpus(two, {"CUDA_VISIBLE_DEVICES": 1}) == [(1, "1")]
    assert variable_values.visible_gpus(two, {}) == [(0, "0"), (1, "1")]
