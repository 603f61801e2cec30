# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers by rules of thumb."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import rough_estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import models


def test_a_device_without_a_layer_has_no_buffer():
    model = models.facts("llama3.1-8b")
    sizes = rough_estimate.compute_by_device(model, [0] * 33, 2, Load(4096))
    assert sizes[0] > 0 and sizes[1] == 0


def test_several_devices_are_a_pipeline_unless_weights_are_on_the_host():
    model, load = models.facts("mixtral-8x7b"), Load(8192)
    slots = [0] * 17 + [1] * 16
    there, here = (rough_estimate.compute_by_device(model, slots, 2, load, moved) for moved in (None, {20: (1, None)}))
    assert here[0] < there[0]


def test_without_flash_attention_the_scores_count():
    model = models.facts("llama3.1-8b")
    assert rough_estimate.block_values(model, Load(32768, flash_attention=False)) > rough_estimate.block_values(
        model, Load(32768)
    )


def test_the_widest_layer_counts():
    assert [rough_estimate.widest(value) for value in (None, 5, [], [3, 7])] == [0, 5, 0, 7]
    model = dataclasses.replace(models.facts("llama3.1-8b"), feed_forward_length=[1, 10**6])
    assert rough_estimate.feed_forward_values(model) == 3 * 10**6 + 4 * model.embedding_length
