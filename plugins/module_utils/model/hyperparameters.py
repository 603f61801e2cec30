# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Fill in what a header leaves out, as llama.cpp does when it loads the model (src/llama-model.cpp, `load_hparams`)."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Union

from .schema import ModelFacts


def complete(model: Union[ModelFacts, Mapping[str, Any]]) -> ModelFacts:
    """The facts of a model with the defaults of llama.cpp in place of null.

    Heads become lists of block_count integers, KV heads default to the heads, the head sizes to width / heads,
    file_bytes to the manifest's size. What has no default stays null. The same goes for the facts of its draft model.

    Args:
        model: a `model` of model_info, or its ModelFacts.
    """
    facts: Dict[str, Any] = dict(vars(model) if isinstance(model, ModelFacts) else model)
    count = facts.get("block_count") or 0
    facts["head_count"] = per_layer(facts.get("head_count"), count)
    facts["head_count_kv"] = per_layer(facts.get("head_count_kv"), count) or facts["head_count"]
    if facts["head_count"] and facts.get("embedding_length"):
        size = facts["embedding_length"] // max(facts["head_count"] + [1])
        facts["key_length"] = facts.get("key_length") or size
        facts["value_length"] = facts.get("value_length") or size
    facts["file_bytes"] = facts.get("file_bytes") or facts.get("size_bytes")
    for key in ("output_bytes", "embedding_bytes", "projector_bytes"):
        facts[key] = facts.get(key) or 0
    facts["draft"] = complete(facts["draft"]) if facts.get("draft") else None
    return ModelFacts.of(facts)


def per_layer(value: Any, count: int) -> Optional[List[Any]]:
    """A hyperparameter as a list of `count` numbers: a number counts for every layer; null stays null."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return list(value) if len(value) == count else (list(value) + [value[-1]] * count)[:count] if value else None
    return [value] * count
