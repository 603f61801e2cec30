# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The models of the recordings as model_info would describe them, built from the recorded dimensions."""

from __future__ import annotations

import functools
import json
import pathlib

from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import ModelFacts

RECORDINGS = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "recordings"

# What the recordings do not hold: tag, experts, experts used, width of an expert, shared experts.
EXPERTS = {
    "llama4-scout": ("llama4:16x17b", 16, 1, 8192, 1),
    "gpt-oss-20b": ("gpt-oss:20b", 32, 4, 2880, None),
    "gpt-oss-120b": ("gpt-oss:120b", 128, 4, 2880, None),
    "mixtral-8x7b": ("mixtral:8x7b", 8, 2, 14336, None),
    "qwen3-30b-a3b": ("qwen3:30b", 128, 8, 768, None),
    "qwen3-235b-a22b": ("qwen3:235b", 128, 8, 1536, None),
}
WINDOWS = {"gemma3": 1024, "gpt-oss": 128}


@functools.lru_cache(maxsize=None)
def _tables():
    older = json.loads((RECORDINGS / "era-models.json").read_text())["models"]
    placement = json.loads((RECORDINGS / "placement-models.json").read_text())
    return older, placement


def names():
    """Names of the models that both tables hold."""
    older, placement = _tables()
    return [name for name in placement if name in older]


def _layer(dims, index, experts, width, shared):
    """A layer with its experts: gate, up and down of one type, but down Q6_K instead of Q4_K in larger blocks."""
    size = dims["block_bytes"][index]
    layer = {"index": index, "weight_bytes": size, "expert_bytes": 0}
    if not experts:
        return layer
    matrix = dims["ffn_gate_exps_bytes"]
    larger = size > min(dims["block_bytes"]) + matrix // 5
    down = matrix * 210 // 144 if larger else matrix
    layer["expert_bytes"] = 2 * matrix + down
    beside = (
        dims["embedding_length"] * width * 144 // 256 if shared else 0
    )  # of the shared expert, in each of the three
    router = 4 * dims["embedding_length"] * experts
    layer["ffn_up_bytes"] = matrix + beside
    layer["ffn_gate_bytes"] = matrix + beside + router
    layer["ffn_down_bytes"] = down + (beside * 210 // 144 if larger else beside)
    return layer


def model(name, **changes):
    """The `model` of model_info for a recorded model; `changes` replace entries."""
    older, placement = _tables()
    dims, recorded = older[name], placement[name]
    blocks = dims["block_count"]
    tag, experts, used, width, shared = EXPERTS.get(name, (name, None, None, None, None))
    facts = {
        "name": tag if ":" in tag else "%s:latest" % tag,
        "source": "file",
        "digest": None,
        "size_bytes": recorded["file_bytes"],
        "file_bytes": recorded["file_bytes"],
        "architecture": dims["architecture"],
        "quantization": "Q4_K_M",
        "block_count": blocks,
        "context_length": recorded["ctx"],
        "embedding_length": dims["embedding_length"],
        "feed_forward_length": dims["feed_forward_length"],
        "vocab_size": dims["vocab_size"],
        "head_count": [dims["head_count_max"]] * blocks,
        "head_count_kv": [dims["head_count_kv_max"]] * blocks,
        "key_length": dims["key_length"],
        "value_length": dims["value_length"],
        "key_length_mla": None,
        "value_length_mla": None,
        "kv_lora_rank": None,
        "rope_dimension_count": None,
        "sliding_window": WINDOWS.get(dims["architecture"]),
        "sliding_window_pattern": None,
        "attention_chunk_size": 8192 if dims["architecture"] == "llama4" else None,
        "expert_count": experts,
        "expert_used_count": used,
        "expert_feed_forward_length": width,
        "leading_dense_block_count": None,
        "full_attention_interval": None,
        "shared_kv_layers": None,
        "ssm": None,
        "layers": [_layer(dims, index, experts, width, shared) for index in range(blocks)],
        "output_bytes": (dims["output_bytes"] or 0) + dims["output_norm_bytes"],
        "embedding_bytes": dims["token_embd_bytes"],
        "tied_embeddings": dims["output_bytes"] is None,
        "projector_bytes": 0,
        "projector_separate": False,
        "split_count": 1,
        "capabilities": ["completion"],
        "tensor_count": None,
    }
    facts.update(changes)
    return facts


def facts(name, **changes):
    """The ModelFacts of a recorded model, as the rooms of the product take them; `changes` replace entries."""
    return ModelFacts.of(model(name, **changes))
