# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Draft models that are named, from the headers of their files: the kinds that llama.cpp has.

Tensors and keys: llama.cpp src/models/dflash.cpp, gemma4-assistant.cpp, eagle3.cpp.
"""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.headers import with_headers
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import hosts
from tests.rig.models import gguf
from tests.unit.plugins import model_layers as layers
from tests.unit.plugins.module_utils.placement.builders import make_plan

WIDTH, TOKENS = 64, 1000
EMBEDDING = ("token_embd.weight", "F16", [WIDTH, TOKENS])
NORM = ("output_norm.weight", "F32", [WIDTH])
ATTENTION = {"attn_q": [64, 64], "attn_k": [64, 32], "attn_v": [64, 32], "attn_output": [64, 64]}
FORWARD = {"ffn_gate": [64, 128], "ffn_up": [64, 128], "ffn_down": [128, 64]}
KEYS = {
    "context_length": 4096,
    "embedding_length": WIDTH,
    "feed_forward_length": 128,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 16,
    "attention.value_length": 16,
}


def blocks(count, without=()):
    shapes = {name: shape for name, shape in {**ATTENTION, **FORWARD}.items() if name not in without}
    return [
        ("blk.%d.%s.weight" % (block, name), "F16", shape) for block in range(count) for name, shape in shapes.items()
    ]


def facts(path, architecture, count, tensors, tokens=TOKENS, **keys):
    """What model_info returns for a file of this architecture."""
    keys = dict(KEYS, block_count=count, **keys)
    pairs = {architecture + "." + key: value for key, value in keys.items()}
    pairs.update({"general.architecture": architecture, "tokenizer.ggml.tokens": [str(one) for one in range(tokens)]})
    head, size = gguf.header(pairs, tensors)
    store = layers.in_store(path, ("model", head, len(head) + size))
    return dict(source.from_store(store, "m")[0], name="d:latest")


def planned(path, draft, version="0.32.15"):
    output = ("output.weight", "F16", [WIDTH, TOKENS])
    base = facts(path / "base", "llama", 4, [EMBEDDING, NORM, output, *blocks(4)])
    entry = {"name": "m", "model": base, "speculative": {"type": "draft", "draft": "d", "tokens": 3}}
    plan = make_plan(hosts.inventory((49140, 48600)), with_headers([entry], [draft]), version)
    (model,) = plan["instances"][0]["models"]
    return model


def dflash(path, **more):
    """It takes the states of three layers of the model, whose embeddings it uses."""
    fusing = [("fc.weight", "F16", [3 * WIDTH, WIDTH]), ("enc.output_norm.weight", "F32", [WIDTH])]
    return facts(path, "dflash", 2, [NORM, *fusing, *blocks(2)], block_size=16, target_layers=[1, 2, 3], **more)


def assistant(path, tokens=TOKENS, **more):
    """All its blocks predict further tokens, with the KV cache of the model."""
    keys = {"nextn_predict_layers": 2, "embedding_length": 32, "embedding_length_out": WIDTH}
    keys.update({"attention.sliding_window": 512, "attention.sliding_window_pattern": [True, False]}, **more)
    heads = [("nextn.post_projection.weight", "F16", [32, WIDTH]), ("token_embd.weight", "F16", [32, tokens])]
    return facts(path, "gemma4-assistant", 2, [*heads, *blocks(2, ("attn_k", "attn_v"))], tokens, **keys)


@pytest.mark.parametrize("made, kind", [(dflash, "draft-dflash"), (assistant, "draft-mtp")])
def test_what_the_release_starts_is_planned_with_its_bytes(tmp_path, made, kind):
    draft = made(tmp_path / "draft")
    model = planned(tmp_path, draft)
    assert model["speculation"] == {"type": kind, "tokens": 3, "draft": True}
    assert model["draft"] == {"name": "d", "planned_digest": draft["digest"], "headers": draft["headers"]}
    (device,) = model["predicted"]["devices"]
    weights = sum(layer["weight_bytes"] for layer in draft["layers"])
    assert device["draft_bytes"] - device["draft_compute_bytes"] >= weights > 0
    assert model["predicted"]["estimated"]  # no recording of the engine has these


def test_an_ordinary_small_model_and_eagle_are_refused(tmp_path):
    for architecture in ("llama", "eagle3"):
        draft = facts(tmp_path / architecture, architecture, 2, [EMBEDDING, NORM, *blocks(2)])
        with pytest.raises(PlacementError, match="architecture is %s; Ollama starts no ordinary model" % architecture):
            planned(tmp_path, draft)


@pytest.mark.parametrize("made", [dflash, assistant])
def test_one_that_was_made_for_another_model_is_refused(tmp_path, made):
    with pytest.raises(PlacementError, match="vocabulary has 1200 tokens and that of the model 1000"):
        planned(tmp_path, made(tmp_path / "vocabulary", tokens=1200))
    key = "embedding_length_out" if made is assistant else "embedding_length"
    with pytest.raises(PlacementError, match="takes states of 128 values and the model has 64"):
        planned(tmp_path, made(tmp_path / "width", **{key: 128}))
    assert planned(tmp_path, made(tmp_path / "padded", tokens=1024))["speculation"]
