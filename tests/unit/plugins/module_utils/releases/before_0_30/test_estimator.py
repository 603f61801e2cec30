# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The estimator of Ollama to 0.12.10."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import v0_5, v0_11_5, v0_11_11

from tests.unit.plugins.module_utils.releases.loads import GIB, decide, gpus, model


@pytest.mark.parametrize("rules", (v0_5, v0_11_5, v0_11_11))
def test_the_estimate_must_be_below_the_free_memory(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    found = decide(rules, facts, gpus(24), options).estimate
    needed = found.vram_size - found.graph + max(found.graph_full, found.graph_partial)
    exact = [{"uuid": "GPU-0", "total_bytes": 24 * GIB, "free_bytes": needed}]
    assert decide(rules, facts, exact, options).layers == [32]
    exact[0]["free_bytes"] += 1
    assert decide(rules, facts, exact, options).layers == [33]


def test_what_0_7_0_alone_keeps_free_and_gemma3_before_its_window():
    # llm/memory.go at 0.6.8, 0.7.0 and 0.7.1; fs/ggml/ggml.go at 0.6.2 and 0.6.3.
    facts = model("llama3.1-8b")
    options, one = {"num_ctx": 4096}, {"OLLAMA_NUM_PARALLEL": "1"}
    sizes = {
        version: decide(v0_5, facts, gpus(24), options, one, version=version).estimate.vram_size
        for version in ((0, 6, 8), (0, 7, 0), (0, 7, 1))
    }
    largest = max(facts.embedding_bytes, facts.output_bytes) - facts.layers[0].weight_bytes
    assert sizes[(0, 6, 8)] == sizes[(0, 7, 1)] == sizes[(0, 7, 0)] - largest
    whole, windowed = (
        decide(v0_5, model("gemma3-12b"), gpus(24), options, one, version=(0, 6, patch)).estimate.kv for patch in (2, 3)
    )
    assert whole > 2 * windowed
