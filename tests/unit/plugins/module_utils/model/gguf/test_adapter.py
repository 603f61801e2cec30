# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a LoRA adapter takes beside each block."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.adapter import (
    adapter_facts,
    misfit,
    read_adapter,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import Header, HeaderError, Tensor

MODEL = {"block_count": 2, "tied_embeddings": False}


def pair(name, size=100, rank=8):
    return [Tensor(name + ".lora_a", [64, rank], "F16", size), Tensor(name + ".lora_b", [rank, 64], "F16", size)]


def header(*tensors, **keys):
    return Header(3, keys, {}, [one for part in tensors for one in part], 0)


def facts_of(*tensors, **model):
    return adapter_facts(read_adapter(header(*tensors)), dict(MODEL, **model))


def test_a_tensor_is_beside_the_one_that_it_changes():
    found = facts_of(
        pair("blk.0.attn_q.weight"),
        pair("blk.0.ffn_up.weight", 50, 32),
        pair("blk.1.attn_q.weight"),
        pair("output.weight", 7),
        pair("token_embd.weight", 3, rank=4),
    )
    assert found == {"layer_bytes": {"0": 300, "1": 200}, "other_bytes": 14, "embedding_bytes": 6, "rank": 32}


def test_the_embedding_is_with_the_output_layer_where_they_are_one():
    found = facts_of(pair("token_embd.weight", 3), tied_embeddings=True)
    assert (found["other_bytes"], found["embedding_bytes"]) == (6, 0)


def test_norms_are_not_loaded():
    found = facts_of([Tensor("blk.0.attn_norm.weight", [64], "F32", 256)])
    assert found == {"layer_bytes": {}, "other_bytes": 0, "embedding_bytes": 0, "rank": 0}


@pytest.mark.parametrize("name", ["blk.2.attn_q.weight", "blk.99999999999999999999.attn_q.weight", "mm.0.weight"])
def test_what_is_of_no_block_of_the_model_is_counted_nevertheless(name):
    assert facts_of(pair(name))["other_bytes"] == 200


def test_a_tensor_of_an_unknown_type_has_no_size():
    with pytest.raises(HeaderError, match="tensors of an unknown type 99"):
        facts_of([Tensor("blk.0.attn_q.weight.lora_a", [64, 8], "type 99", None)])


@pytest.mark.parametrize(
    "made_for, model, fits",
    [
        ("llama", "llama", True),
        ("qwen2", "llama", False),
        ("gpt-oss", "gptoss", True),  # the name that the engine gives it
        ("gptoss", "gptoss", True),
        ("gptoss", "gpt-oss", False),
        (None, "llama", False),
    ],
)
def test_an_adapter_is_made_for_one_architecture(made_for, model, fits):
    keys = {"general.architecture": made_for} if made_for else {}
    wrong = misfit(read_adapter(header(**keys)), {"architecture": model, "block_count": 2})
    assert wrong == (
        ""
        if fits
        else "was made for %s, and the model has the architecture %s"
        % ("the architecture %s" % made_for if made_for else "no architecture", model)
    )


@pytest.mark.parametrize(
    "name, width, wrong",
    [
        ("blk.1.attn_q.weight", 64, ""),
        ("blk.2.attn_q.weight", 64, "changes block 2, and the model has the blocks 0 to 1"),
        (
            "blk.1.attn_q.weight",
            128,
            "changes matrices attn_q.weight of 64 x 64, and the model has them of 64 x 128 and 64 x 256",
        ),
        ("blk.1.attn_k.weight", 128, ""),  # what the source does not tell is for the engine to judge
    ],
)
def test_an_adapter_goes_with_models_of_its_blocks_and_widths(name, width, wrong):
    kinds = [{"attn_q.weight": [64, width]}, {"attn_q.weight": [64, 2 * width]}]
    model = {"architecture": "llama", "block_count": 2, "layer_kinds": kinds}
    keys = {"general.architecture": "llama"}
    assert misfit(read_adapter(header(pair("blk.0.attn_norm.weight"), pair(name), **keys)), model) == wrong
