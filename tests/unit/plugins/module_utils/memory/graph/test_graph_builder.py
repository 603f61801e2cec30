# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the parts of a graph share."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import table
from tests.unit.plugins.module_utils.memory.graph.builders import builder


def test_inputs_are_made_once():
    b = builder("llama3.1-8b")
    assert b.positions is b.positions and b.mask(False) is b.mask(False) and len(b.graph.inputs) == 2


def test_a_batch_is_a_whole_number_of_tokens_for_every_slot():
    b = builder("llama3.1-8b", Load(4096, parallel=3, ubatch=512))
    assert (b.tokens, b.wanted, b.sequences, b.streams) == (513, 512, 3, 3)
    assert builder("llama3.1-8b", Load(4096, parallel=3, unified=True, outputs=3)).wanted == 3


def test_only_the_rows_of_the_output_go_on_after_the_last_block():
    b = builder("llama3.1-8b", Load(4096, outputs=1))
    value = b.graph.given((b.width, b.tokens))
    assert b.pick(value)[0].shape == (b.width, 1, 1, 1) and b.tokens == 1


def test_moved_bytes_tell_which_matrices_are_elsewhere():
    layer = table.facts("mixtral-8x7b").layers[3]
    parts = ("up", "gate", "down")

    def where(size):
        b = builder("mixtral-8x7b", moved={3: (size, None)})
        return [part for part in parts if b.matrix_device(3, part, experts=True) == b.host]

    assert where(layer.expert_bytes) == ["up", "gate", "down"]
    assert where(layer.ffn_gate_bytes + layer.ffn_down_bytes) == ["gate", "down"]
    assert where(layer.ffn_down_bytes) == ["down"]


def test_the_router_and_the_shared_expert_go_with_the_matrices_of_their_names():
    layer = table.facts("hunyuan-a13b").layers[3]
    down, gate, up = layer.ffn_down_bytes, layer.ffn_gate_bytes, layer.ffn_up_bytes
    for size, elsewhere in (
        (layer.expert_bytes, ""),  # the experts alone
        (down, "down"),
        (down + gate, "down gate"),
        (down + gate + up, "down gate up"),
        (0, ""),
    ):
        b = builder("hunyuan-a13b", moved={3: (size, None)})
        for experts in (False, True):
            found = [part for part in ("down", "gate", "up") if b.matrix_device(3, part, experts) == b.host]
            assert found == ("down gate up" if experts and size == layer.expert_bytes else elsewhere).split()


def test_full_and_windowed_layers_have_matrices_of_their_own_for_a_quantized_cache():
    b = builder("gemma3-27b", Load(4096, cache_type="q8_0"))
    assert b.rotation("k", 128, True) is not b.rotation("k", 128, False)
    assert b.rotation("k", 128, True) is b.rotation("k", 128, True)


def test_a_quantized_cache_has_rotated_rows():
    assert builder("llama3.1-8b").cache(0).rotations == (None, None)
    assert builder("llama3.1-8b", Load(4096, cache_type="q8_0")).cache(0).rotations == (128, 64)
