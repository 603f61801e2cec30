# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""KV cache and compute graph as Ollama to 0.24 estimates them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import dimensions, graph_sizes

from tests.unit.plugins.module_utils.releases.loads import model


def size(name, version, context=8192, batch=512, parallel=1, cache_type="", flash=False):
    load = graph_sizes.GraphLoad(context, batch, parallel, cache_type, flash)
    return graph_sizes.graph_size(dimensions.Dimensions(model(name)), load, version)


@pytest.mark.parametrize("cache_type, element", [("", 2), ("f16", 2), ("q8_0", 1), ("q4_0", 0.5)])
def test_the_cache_counts_whole_bytes_an_element(cache_type, element):
    kv = size("llama3.1-8b", (0, 24, 0), cache_type=cache_type)[0]
    assert kv == [int(8192 * (128 + 128) * 8 * element)] * 32


def test_gemma3_counts_a_window_from_0_6_3_on():
    whole, windowed = (size("gemma3-12b", (0, 6, patch))[0] for patch in (2, 3))
    assert len(set(whole)) == 1
    assert windowed[5] == whole[5] and windowed[0] < whole[0] // 4


def test_an_architecture_without_a_formula_takes_the_caller_s_rule():
    dims = dimensions.Dimensions(model("qwen3-8b"))
    load = graph_sizes.GraphLoad(8192, 512, 1, "", False)
    kv, partial, full = graph_sizes.graph_size(dims, load, (0, 24, 0))
    assert (partial, full) == (0, 0)
    expected = dims.heads_max // dims.kv_min * sum(kv) // 6
    assert graph_sizes.complete_graphs(dims, kv, partial, full) == (kv, expected, expected)


def test_a_model_without_a_projector_has_no_vision_graph():
    assert graph_sizes.vision_graph(dimensions.Dimensions(model("llama3.1-8b"))) == (0, 0)
