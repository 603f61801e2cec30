# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a LoRA adapter from its header. Pure.

Source: llama.cpp src/llama-adapter.cpp, `llama_adapter_lora_init_impl`: each tensor goes to the buffer of the one that
it changes, which its name says ("blk.0.attn_q.weight.lora_a"); tensors of norms are not loaded.
"""

from __future__ import annotations

import re
from typing import Any

from .header import Header, HeaderError

_BLOCK = re.compile(r"blk\.(\d{1,6})\.")
_NORM = "_norm.weight"
_EMBEDDING = ("token_embd.weight", "per_layer_token_embd.weight")
# Under which further names Ollama's engine loads a model of an architecture (llama/compat/llama-ollama-compat.cpp of
# 0.32.15): an adapter may be made for either.
_LOADED_AS = {
    "deepseekocr": ("deepseek2-ocr",),
    "gemma3": ("gemma-embedding",),
    "glm4moelite": ("deepseek2",),
    "glmocr": ("glm4",),
    "gptoss": ("gpt-oss",),
    "nemotron_h_omni": ("nemotron_h", "nemotron_h_moe"),
    "olmo3": ("olmo2",),
    "qwen25vl": ("qwen2vl",),
}


def adapter_facts(header: Header, model: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an adapter (model.schema.Adapter) without digest and size_bytes.

    Args:
        header: of the adapter.
        model: facts of the model that it changes (facts.model_facts).

    Raises:
        HeaderError: the adapter has tensors of an unknown type, so that its size cannot be computed.
    """
    layers: dict[str, int] = {}
    facts: dict[str, Any] = {"layer_bytes": layers, "other_bytes": 0, "embedding_bytes": 0, "rank": 0}
    for tensor in header.tensors:
        if tensor.name.endswith(_NORM):
            continue
        if tensor.bytes is None:
            raise HeaderError(
                "it has tensors of an unknown %s, so its size cannot be computed; this collection is older than it"
                % tensor.type
            )
        facts["rank"] = max(facts["rank"], _rank(tensor.name, tensor.shape))
        match = _BLOCK.match(tensor.name)
        if match and int(match.group(1)) < model["block_count"]:
            block = str(int(match.group(1)))
            layers[block] = layers.get(block, 0) + tensor.bytes
        elif tensor.name.startswith(_EMBEDDING) and not model["tied_embeddings"]:
            facts["embedding_bytes"] += tensor.bytes
        else:
            # With a tied output layer the embedding is there twice, and either may be the one that is found.
            facts["other_bytes"] += tensor.bytes
    return facts


def foreign_architecture(header: Header, model: dict[str, Any]) -> str | None:
    """Return the architecture that an adapter was made for where it is not that of the model, else None.

    The engine loads neither then ("model arch and LoRA arch mismatch").

    Args:
        header: of the adapter. One that names no architecture was made for "" here.
        model: facts of the model (facts.model_facts).
    """
    made_for, own = str(header.keys.get("general.architecture") or ""), model["architecture"]
    return None if made_for in (own, *_LOADED_AS.get(own, ())) else made_for


def foreign_block(header: Header, model: dict[str, Any]) -> int | None:
    """Return a block that an adapter changes and the model does not have, None where there is none.

    The engine loads neither then ("does not exist in base model").

    Args:
        header: of the adapter.
        model: facts of the model (facts.model_facts).
    """
    names = (tensor.name for tensor in header.tensors if not tensor.name.endswith(_NORM))
    blocks = [int(match.group(1)) for match in map(_BLOCK.match, names) if match]
    return next((block for block in blocks if block >= model["block_count"]), None)


def _rank(name: str, shape: Any) -> int:
    """Return the rank by a tensor B, whose rows it is; 0 for another tensor."""
    return shape[0] if name.endswith(".lora_b") and shape else 0
