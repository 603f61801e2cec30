# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Norms and biases."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import norms

from tests.unit.plugins.module_utils.memory.graph.builders import builder


def test_weights_bind_a_norm_to_their_device_but_not_the_norm_itself():
    b = builder("llama3.1-8b", layers=[0] * 16 + [1] * 17, devices=2)
    value = b.graph.given((b.width, b.tokens))
    made = norms.norm(b, value, True, 20)
    assert (made.operation, made.bound) == ("mul", 1) and made.sources[0].operation == "rms_norm"
    assert made.sources[0].bound is None
    assert norms.norm(b, value, False, 20, plain=True).operation == "norm"


def test_a_bias_is_added_where_the_block_has_one():
    b = builder("llama3.1-8b")
    value = b.graph.given((b.width, b.tokens))
    assert norms.with_bias(b, value, {}, "attn_norm.bias", 0) is value
    assert norms.with_bias(b, value, {"attn_norm.bias": [b.width]}, "attn_norm.bias", 0).operation == "add"
