# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A release before 0.30 answers what a plan asks."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.shapes import PlannedLayers, PlannedLoad

from tests.unit.plugins.module_utils.releases.loads import GIB, gpus, model, request


def test_a_release_says_itself_which_models_it_serves_one_request_at_a_time():
    facts = dataclasses.replace(model("llama3.1-8b"), architecture="qwen3vl")
    assert [
        versions.release_of(version).one_request_at_a_time(facts)
        for version in ("0.12.6", "0.12.7", "0.24.0", "0.32.15")
    ] == [False, True, True, True]
    assert versions.release_of("0.12.6").one_request_at_a_time(
        dataclasses.replace(facts, architecture="bert", capabilities=["embedding"])
    )


def test_a_load_that_the_release_would_put_partly_on_the_cpu_evicts():
    release = versions.release_of("0.24.0")
    load = request(model("llama3.1-8b"), gpus(24), {"num_ctx": 4096})
    last, small, large = (PlannedLoad(load, (size * GIB,), (33,), 33) for size in (6, 6, 20))
    assert not release.evicts(last, [small])
    assert release.evicts(last, [large])
    assert versions.release_of("0.5.12").evicts(last, [])


def test_a_plan_can_reserve_memory_and_set_no_layers():
    release = versions.release_of("0.12.11")
    layers = PlannedLayers("partial", None, 3 * GIB, GIB, 0, True, False)
    assert release.layer_settings(layers) == {"OLLAMA_GPU_OVERHEAD": str(3 * GIB)}
    assert not (release.layers_can_be_set or release.all_layers_can_be_forced or release.smaller_batches)
    assert "the engine of 0.12.11 differs" in release.notes()[0]
    assert any("Known fault of Ollama 0.12.11" in note for note in release.notes())


def test_gpus_that_are_too_old_are_refused():
    release = versions.release_of("0.24.0")
    refused = release.refused_gpu([3, 5], None)
    assert refused.reason == "Ollama needs compute capability 5.0, it has 3.5" and refused.lasting
    assert release.refused_gpu([5, 0], None) is None
