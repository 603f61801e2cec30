# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import io

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.facts import model_facts
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import (
    Header,
    HeaderError,
    Tensor,
    read_header,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.types import tensor_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.models import catalog


def tensor(name, shape=(32, 2), kind="F16"):
    return Tensor(name, list(shape), kind, tensor_bytes(shape, kind))


def header(tensors=(), lengths=None, **keys):
    base = {
        "general.architecture": "arch",
        "general.file_type": 15,
        "arch.block_count": 2,
        "arch.embedding_length": 64,
        "arch.attention.head_count": 4,
    }
    base.update({name.replace("__", "."): value for name, value in keys.items()})
    return Header(
        3, {name: value for name, value in base.items() if value is not None}, lengths or {}, list(tensors), 100
    )


TENSORS = [
    tensor("token_embd.weight", (64, 269)),
    tensor("per_layer_token_embd.weight"),
    tensor("blk.0.attn_k.weight"),
    tensor("blk.0.ffn_up_exps.weight", (256, 4, 3), "Q4_K"),
    tensor("blk.1.attn_k.weight", (64, 2)),
    tensor("blk.1.ffn_up_shexp.weight"),
    tensor("output_norm.weight", (64,), "F32"),
    tensor("output.weight", (64, 269)),
    tensor("rope_freqs.weight", (8,), "F32"),
    tensor("v.blk.0.attn_k.weight"),
    tensor("mm.0.weight"),
]


def test_each_tensor_is_counted_once_and_in_its_place():
    facts = model_facts(header(TENSORS))
    assert [(layer["index"], layer["weight_bytes"], layer["expert_bytes"]) for layer in facts["layers"]] == [
        (0, 128 + 144 * 12, 144 * 12),
        (1, 256 + 128, 0),
    ]
    assert [layer["ffn_%s_bytes" % part] for layer in facts["layers"] for part in ("up", "gate", "down")] == [
        144 * 12,
        0,
        0,
        128,
        0,
        0,
    ]
    assert facts["output_bytes"] == 256 + 64 * 269 * 2 + 32
    assert facts["embedding_bytes"] == 64 * 269 * 2 + 128
    assert facts["projector_bytes"] == 256
    counted = (
        sum(layer["weight_bytes"] for layer in facts["layers"])
        + facts["output_bytes"]
        + facts["embedding_bytes"]
        + facts["projector_bytes"]
    )
    assert counted == sum(item.bytes for item in TENSORS)
    assert (facts["tied_embeddings"], facts["projector_separate"], facts["capabilities"]) == (
        False,
        False,
        ["completion", "vision"],
    )


def test_layers_of_one_shape_may_differ_in_the_bytes_of_their_tensors():
    blocks = [
        tensor("blk.%d.ffn_down.weight" % index, (256, 2), kind) for index, kind in enumerate(("Q4_K", "Q6_K", "Q4_K"))
    ]
    facts = model_facts(header(blocks + [tensor("output.weight"), tensor("v.patch.weight")], arch__block_count=3))
    assert [layer["kind"] for layer in facts["layers"]] == [0, 0, 0] and [
        layer["sizes"] for layer in facts["layers"]
    ] == [0, 1, 0]
    assert facts["layer_sizes"] == [{"ffn_down.weight": 288}, {"ffn_down.weight": 420}] and facts["other_sizes"] == {
        "output.weight": 128
    }


def test_without_an_output_layer_the_embedding_is_tied():
    assert model_facts(header([item for item in TENSORS if item.name != "output.weight"]))["tied_embeddings"] is True


def test_a_separate_projector_is_counted_whole():
    facts = model_facts(header(TENSORS[:5]), header([tensor("v.x"), tensor("anything")]))
    assert (facts["projector_bytes"], facts["projector_separate"]) == (256, True)
    assert "vision" in facts["capabilities"]


def test_defaults_are_those_of_llama_cpp_and_unknown_is_none():
    facts = model_facts(header(TENSORS, {"tokenizer.ggml.tokens": 300}))
    assert (facts["key_length"], facts["value_length"]) == (16, 16)
    assert facts["head_count"] == facts["head_count_kv"] == [4, 4]
    assert facts["vocab_size"] == 269
    assert facts["quantization"] == "Q4_K_M"
    for name in (
        "sliding_window",
        "sliding_window_pattern",
        "kv_lora_rank",
        "expert_count",
        "ssm",
        "context_length",
        "feed_forward_length",
    ):
        assert facts[name] is None, name


def test_lists_per_layer_are_kept():
    facts = model_facts(
        header(
            TENSORS,
            arch__attention__head_count_kv=[8, 0],
            arch__attention__sliding_window_pattern=[True, False],
            arch__feed_forward_length=[10, 30],
            arch__attention__sliding_window=512,
        )
    )
    assert facts["head_count_kv"] == [8, 0]
    assert facts["sliding_window_pattern"] == [True, False]
    assert facts["feed_forward_length"] == 30
    assert facts["sliding_window"] == 512


def test_a_list_for_fewer_layers_than_there_are_is_unknown_not_guessed():
    facts = model_facts(header(TENSORS, arch__attention__head_count_kv=[8], arch__attention__head_count=None))
    assert facts["head_count_kv"] is None and facts["head_count"] is None


def test_recurrent_and_latent_sizes():
    facts = model_facts(
        header(
            TENSORS,
            arch__ssm__conv_kernel=4,
            arch__ssm__state_size=128,
            arch__full_attention_interval=4,
            arch__attention__kv_lora_rank=512,
            arch__attention__key_length_mla=192,
        )
    )
    assert facts["ssm"] == {
        "conv_kernel": 4,
        "inner_size": None,
        "state_size": 128,
        "group_count": None,
        "time_step_rank": None,
    }
    assert (facts["full_attention_interval"], facts["kv_lora_rank"], facts["key_length_mla"]) == (4, 512, 192)


def test_an_embedding_model_says_so():
    assert model_facts(header(TENSORS[:5], arch__pooling_type=1))["capabilities"] == ["embedding"]


@pytest.mark.parametrize(
    "broken, words",
    [
        (header(TENSORS, general__architecture=None), "does not name an architecture"),
        (header(TENSORS, general__architecture="clip"), "vision projector"),
        (header([Tensor("t", [4], "type 99", None)]), "unknown type 99"),
        (header([]), "has no tensors"),
        (header([TENSORS[0], *TENSORS[6:9]]), "tensors of no layer .only output, output_norm, rope_freqs, token_embd."),
        (header(TENSORS, arch__block_count=None), "how many layers"),
        (header(TENSORS, arch__block_count=10**9), "1000000000 layers"),
    ],
)
def test_what_cannot_be_planned_is_refused(broken, words):
    with pytest.raises(HeaderError, match=words):
        model_facts(broken)


WHOLE = catalog.header_of("tiny")[0]


@settings(max_examples=200)
@given(st.integers(24, len(WHOLE) - 1), st.binary(min_size=1, max_size=9))
def test_a_damaged_header_gives_facts_or_a_sentence(at, damage):
    stream = io.BytesIO(WHOLE[:at] + damage + WHOLE[at + len(damage) :])
    try:
        model_facts(read_header(lambda size: stream.read(max(size, 65536))))
    except HeaderError as error:
        assert "\n" not in str(error)


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "general.file_type",
                "general.parameter_count",
                "arch.block_count",
                "arch.attention.head_count",
                "arch.attention.head_count_kv",
                "arch.embedding_length",
                "arch.attention.sliding_window",
                "arch.attention.sliding_window_pattern",
                "arch.feed_forward_length",
                "arch.ssm.state_size",
                "arch.vocab_size",
                "split.count",
                "general.architecture",
            ]
        ),
        st.one_of(
            st.integers(-3, 9),
            st.floats(),
            st.booleans(),
            st.text(max_size=3),
            st.lists(st.one_of(st.integers(-3, 9), st.booleans()), max_size=3),
        ),
    )
)
def test_keys_of_the_wrong_type_give_facts_or_a_sentence(keys):
    try:
        facts = model_facts(header(TENSORS, **keys))
    except HeaderError as error:
        assert "\n" not in str(error)
    else:
        assert facts["block_count"] == len(facts["layers"])


def test_a_part_of_a_model_is_refused():
    """llama-server of build 11669: "check_tensor_dims: tensor 'blk.8.attn_norm.weight' not found"."""
    with pytest.raises(HeaderError, match="no tensors of 1 of the model's 2 layers .the first is layer 1."):
        model_facts(header(TENSORS[:4]))
    facts = model_facts(header(TENSORS[:4], arch__attention__head_count=[4, 0]))
    assert [layer["weight_bytes"] > 0 for layer in facts["layers"]] == [True, False]


def test_layers_that_predict_further_tokens_may_be_missing_or_alone():
    for tensors in (TENSORS[:4], [TENSORS[0], *TENSORS[4:6]]):
        assert model_facts(header(tensors, arch__nextn_predict_layers=1))["block_count"] == 2
    with pytest.raises(HeaderError, match="no tensors of 1 of the model's 3 layers"):
        model_facts(header(TENSORS[:4], arch__nextn_predict_layers=1, arch__block_count=3))
