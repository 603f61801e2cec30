# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.12.11 to 0.24."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import v0_11_11, v0_12_11

from tests.unit.plugins.module_utils.releases.loads import decide, gpus, model, replayed


def test_every_recorded_decision_of_0_12_11_and_0_24_0_is_made_alike():
    assert replayed("D") == (808, [])


def test_the_vectors_of_the_reference_with_the_layers_of_both_old_and_new_rules():
    facts, options = model("llama4-scout"), {"num_ctx": 4096}
    assert decide(v0_12_11, facts, gpus(47, 47), options).layers == [24, 25]
    assert decide(v0_12_11, facts, gpus(79, 79), options).layers == [49]
    assert decide(v0_12_11, facts, gpus(79, 79), options, {"OLLAMA_SCHED_SPREAD": "1"}).layers == [24, 25]
    assert sum(decide(v0_12_11, facts, gpus(23, 23), options).layers) < 49


def test_from_0_12_11_ollama_predicts_what_it_then_reports():
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    alone = decide(v0_12_11, facts, gpus(24, 24), options)
    assert alone.predicted_bytes == sum(alone.weights) + sum(alone.cache) + alone.graphs[0]
    both = decide(v0_12_11, facts, gpus(24, 24), options, {"OLLAMA_SCHED_SPREAD": "1"})
    assert both.graphs[0] == both.graphs[1] == alone.graphs[0]
    assert both.predicted_bytes == alone.predicted_bytes + both.graphs[1]


def test_a_gpu_smaller_than_a_layer_gets_everything_before_0_14():
    facts, host, options = model("llama3.3-70b"), gpus(0.3, 60), {"num_ctx": 4096}
    wrapped = decide(v0_12_11, facts, host, options, version=(0, 13, 5))
    assert (wrapped.gpus, wrapped.layers) == ([0], [81])
    assert [fault["name"] for fault in wrapped.faults] == ["wrap_around"]
    mended = decide(v0_12_11, facts, host, options, version=(0, 14, 0))
    assert (mended.gpus, mended.layers, mended.faults) == ([1], [81], [])


def test_the_projector_is_not_counted_from_0_12_11_on():
    plain, seeing = model("llama3.1-8b"), model("llama3.1-8b", "proj-llava")
    host, options = gpus(8), {"num_ctx": 4096}
    with_projector = decide(v0_12_11, seeing, host, options)
    assert with_projector.layers == decide(v0_12_11, plain, host, options).layers
    assert [fault["name"] for fault in with_projector.faults] == ["projector_not_counted"]
    assert (
        decide(v0_11_11, seeing, host, options).predicted_bytes > decide(v0_11_11, plain, host, options).predicted_bytes
    )
