# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Loads on Ollama's own engine: layouts that are measured until they repeat."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import layout, measured_layout

GIB = 1024**3
LAYERS = [GIB] * 10


def gpus(*free_gib):
    return [{"free_bytes": size * GIB, "minimum_bytes": 0} for size in free_gib]


def runner(holds, asked):
    """A runner whose allocation succeeds where at most `holds` layers are on a GPU."""

    def run(operation, found):
        asked.append((operation, layout.layers_of(found)))
        success = operation == "fit" or all(len(numbers) <= holds for dummy, numbers in found)
        return measured_layout.Report(success, layout.Sizes(LAYERS, {0: 0, 1: 0}))

    return run


def test_a_layout_that_can_be_allocated_is_committed():
    asked = []
    found = measured_layout.load(layout.Rules((0, 24, 0)), gpus(20, 20), 10, runner(10, asked))
    assert found == [(0, list(range(10)))]
    assert asked[-1] == ("commit", 10)


def test_an_allocation_that_fails_leaves_a_larger_share_of_the_memory_free():
    found = measured_layout.load(layout.Rules((0, 24, 0)), gpus(10, 10), 10, runner(6, []))
    assert layout.layers_of(found) == 10
    assert max(len(numbers) for dummy, numbers in found) <= 6


def test_a_forced_number_of_layers_that_cannot_be_allocated_is_an_error():
    with pytest.raises(measured_layout.CannotAllocate, match="num_gpu = 10"):
        measured_layout.load(layout.Rules((0, 24, 0), num_gpu=10), gpus(20, 20), 10, runner(3, []))
    with pytest.raises(measured_layout.CannotAllocate, match="commit"):
        measured_layout.load(
            layout.Rules((0, 24, 0)),
            gpus(20),
            10,
            lambda operation, found: measured_layout.Report(operation != "commit", layout.Sizes(LAYERS, {0: 0})),
        )
