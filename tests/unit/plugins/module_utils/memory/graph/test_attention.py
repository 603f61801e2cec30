# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Attention of a block."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import attention
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.unit.plugins.module_utils.memory.graph.builders import builder, operations


def attended(name, layer=0, **settings):
    b = builder(name, Load(4096, **settings))
    value = b.graph.given((b.width, b.tokens))
    return b, attention.attention(b, value, b.kinds[layer], layer)


def test_flash_attention_is_one_operation_and_scores_are_several():
    b, made = attended("llama3.1-8b")
    assert made.shape[:2] == (b.width, b.tokens) and operations(b).count("flash_attn") == 1
    b, made = attended("llama3.1-8b", flash_attention=False)
    assert made.shape[:2] == (b.width, b.tokens) and "flash_attn" not in operations(b)
    assert "soft_max" in operations(b)


def test_k_and_v_are_stored_unless_an_earlier_block_s_cache_serves():
    b, dummy = attended("gemma3n-e4b", layer=0)
    assert operations(b).count("set_rows") == 2
    b, dummy = attended("gemma3n-e4b", layer=34)
    assert operations(b).count("set_rows") == 0


def test_parts_of_a_fused_matrix_are_copied_before_a_quantized_cache_rotates_them():
    """llama-graph.cpp `ggml_mul_mat_aux`; what has been through rotary positions has no gaps any more."""
    copies = {}
    for name in ("starcoder-15b", "falcon-7b", "llama3.1-8b"):
        for cache in ("f16", "q8_0"):
            copies[name, cache] = operations(attended(name, cache_type=cache)[0]).count("cont")
    more = {name: copies[name, "q8_0"] - copies[name, "f16"] for name, dummy in copies}
    assert more == {"starcoder-15b": 3, "falcon-7b": 1, "llama3.1-8b": 0}
