# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers: which devices have one, and what they depend on."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import compute, weights
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import models, table


def test_a_gpu_without_layers_has_no_compute_buffer():
    model = models.facts("llama3.1-8b")
    slots = weights.assign_layers([1, 0], 33)
    assert compute.compute_by_device(model, slots, 2, Load(4096))[1] == 0


def test_moved_experts_switch_the_pipeline_off():
    model = models.facts("mixtral-8x7b")
    slots = [0] * 17 + [1] * 16
    moved = {20: (model.layers[20].expert_bytes, None)}
    there, here = (
        compute.compute_by_device(model, slots, 2, Load(8192)),
        compute.compute_by_device(model, slots, 2, Load(8192), moved=moved),
    )
    assert here != there and here[0] < there[0]


def test_answers_are_remembered_by_what_they_depend_on():
    model = table.facts("qwen3-14b")
    slots = [0] * 41
    small, large = (compute.compute_by_device(model, slots, 1, Load(4096, ubatch=ubatch))[0] for ubatch in (512, 1024))
    assert small < large
    wider = dataclasses.replace(model, vocab_size=2 * model.vocab_size)
    assert compute.compute_by_device(wider, slots, 1, Load(4096))[0] > small
    assert compute.compute_by_device(model, slots, 1, Load(4096))[0] == small


def test_without_a_device_the_host_has_all_of_the_compute_buffer():
    for name in ("llama3.1-8b", "qwen3-30b-a3b"):
        model = models.facts(name)
        layers = model.block_count + 1
        alone = compute.compute_on_host(model, [None] * layers, 0, Load(8192))
        assert alone > 2 * compute.compute_on_host(model, [0] * layers, 1, Load(8192)) > 0
        assert compute.compute_by_device(model, [None] * layers, 0, Load(8192)) == []


def test_an_unknown_architecture_has_a_careful_buffer_on_the_host():
    known = models.facts("llama3.1-8b")
    unknown = dataclasses.replace(known, architecture="new")
    assert compute.is_estimated(unknown)
    for layers in ([None] * 33, [0] * 33, [None] * 16 + [0] * 17):
        careful, exact = (compute.compute_on_host(model, layers, 1, Load(8192)) for model in (unknown, known))
        assert exact <= careful <= 8 * exact
