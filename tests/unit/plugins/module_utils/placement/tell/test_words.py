# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How a model runs that is not wholly on GPUs, in words."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.words import on_cpu

from tests.unit.plugins.module_utils.placement.builders import GIB, gpu, placed


def test_layers_or_weights_on_the_cpu_are_said():
    predicted = placed((gpu(), GIB, GIB), total_layers=9, host_bytes=3 * GIB).predicted
    assert on_cpu(predicted) == "with 4 of 9 layers on GPUs and the rest on the CPU"
    assert on_cpu(dataclasses.replace(predicted, gpu_layers=0)) == "on the CPU alone"
    moved = dataclasses.replace(predicted, total_layers=4)
    assert on_cpu(moved) == "with all 4 layers on GPUs, but with 3.0 GiB of the weights on the CPU"
