# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Fill in what a header leaves out, as llama.cpp does when it loads the model (src/llama-model.cpp, `load_hparams`)."""

from __future__ import annotations

from ..model.schema import ModelFacts


def complete(model):
    """A copy of a model_info `model` with the defaults of llama.cpp in place of null.

    Heads become lists of block_count integers, KV heads default to the heads, the head sizes to width / heads,
    file_bytes to the manifest's size. What has no default stays null.
    """
    model = dict(vars(model) if isinstance(model, ModelFacts) else model)
    count = model.get("block_count") or 0
    model["head_count"] = per_layer(model.get("head_count"), count)
    model["head_count_kv"] = per_layer(model.get("head_count_kv"), count) or model["head_count"]
    if model["head_count"] and model.get("embedding_length"):
        size = model["embedding_length"] // max(model["head_count"] + [1])
        model["key_length"] = model.get("key_length") or size
        model["value_length"] = model.get("value_length") or size
    model["file_bytes"] = model.get("file_bytes") or model.get("size_bytes")
    for key in ("output_bytes", "embedding_bytes", "projector_bytes"):
        model[key] = model.get(key) or 0
    return ModelFacts.of(model)


def per_layer(value, count):
    """A hyperparameter as a list of `count` numbers: a number counts for every layer; null stays null."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return list(value) if len(value) == count else (list(value) + [value[-1]] * count)[:count] if value else None
    return [value] * count
