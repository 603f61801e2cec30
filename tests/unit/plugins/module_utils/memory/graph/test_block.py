# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One block of a model."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import block

from tests.unit.plugins.module_utils.memory.graph.builders import builder, operations


def made(name, layer, last=False):
    b = builder(name)
    value = b.graph.given((b.width, b.tokens))
    out = b.graph.expand(block.block(b, value, b.kinds[layer], layer, last))
    return b, out


def test_a_block_has_the_mixer_that_its_tensors_show():
    assert "flash_attn" in operations(made("llama3.1-8b", 0)[0])
    mamba = operations(made("mamba-2.8b", 0)[0])
    assert "ssm_scan" in mamba and "flash_attn" not in mamba
    both = operations(made("falcon-h1-7b", 0)[0])
    assert "ssm_scan" in both and "flash_attn" in both


def test_after_the_last_block_a_batch_has_the_rows_of_the_output():
    b, out = made("llama3.1-8b", 31, last=True)
    assert out.shape[1] == b.wanted and operations(b).count("get_rows") == 2


def test_parts_side_by_side_are_added_as_the_model_does_and_have_norms_of_their_own():
    def added(name):
        """What the parts that a block adds were made of, in their order; "in" came in."""
        b, out = made(name, 0)
        first, last = out.sources[0].sources, out.sources[1]
        return ["in" if value in b.graph.inputs else value.sources[0].operation for value in (*first, last)]

    assert added("falcon-7b") == ["unary", "view", "in"]  # the feed-forward part, attention
    assert added("command-r-35b") == ["glu", "in", "view"]
    assert added("phi2")[2] == "in"
    assert operations(made("falcon-40b", 0)[0]).count("norm") == 1 + operations(made("falcon-7b", 0)[0]).count("norm")
