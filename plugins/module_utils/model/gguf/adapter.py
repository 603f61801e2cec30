# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a LoRA adapter from its header. Pure.

Source: llama.cpp src/llama-adapter.cpp, `llama_adapter_lora_init_impl`: each tensor goes to the buffer of the one that
it changes, which its name says ("blk.0.attn_q.weight.lora_a"); tensors of norms are not loaded.
"""

from __future__ import annotations

import re
from typing import Any, Iterable

from .header import Header, HeaderError

_BLOCK = re.compile(r"blk\.(\d{1,6})\.")
_NORM = "_norm.weight"
#: What is kept of them: a file that somebody made up could have another matrix and another shape for each tensor.
_MOST_MATRICES, _MOST_SHAPES = 64, 8
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


def read_adapter(header: Header) -> dict[str, Any]:
    """Return what the header of an adapter says, whatever the model that it changes.

    Args:
        header: of the adapter.

    Returns:
        `architecture` that it was made for, "" where it names none; `layer_bytes`: bytes of its tensors by the block
        that they change; `embedding_bytes`: of those that change the token embedding; `other_bytes`; `rank`: the
        largest rank of its matrices; `shapes`: {name of a matrix of a block without "blk.N.": its sizes [in, out], each
        once}.

    Raises:
        HeaderError: it has tensors of an unknown type, so that its size cannot be computed.
    """
    layers: dict[str, int] = {}
    facts: dict[str, Any] = {"layer_bytes": layers, "embedding_bytes": 0, "other_bytes": 0, "rank": 0}
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
        if match:
            block = str(int(match.group(1)))
            layers[block] = layers.get(block, 0) + tensor.bytes
        elif tensor.name.startswith(_EMBEDDING):
            facts["embedding_bytes"] += tensor.bytes
        else:
            facts["other_bytes"] += tensor.bytes
    architecture = str(header.keys.get("general.architecture") or "")
    return dict(facts, architecture=architecture, shapes=_shapes(header))


def adapter_facts(adapter: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an adapter (model.schema.Adapter) without digest and size_bytes.

    Args:
        adapter: what its header says (`read_adapter`).
        model: facts of the model that it changes (facts.model_facts).
    """
    layers, other = {}, adapter["other_bytes"]
    for block, size in adapter["layer_bytes"].items():
        if int(block) < model["block_count"]:
            layers[block] = size
        else:
            other += size
    embedding = adapter["embedding_bytes"]
    if model["tied_embeddings"]:
        # The embedding is there twice, and either may be the one that is found.
        embedding, other = 0, other + embedding
    return {"layer_bytes": layers, "other_bytes": other, "embedding_bytes": embedding, "rank": adapter["rank"]}


def misfit(adapter: dict[str, Any], model: dict[str, Any]) -> str:
    """Return why a model cannot be loaded with an adapter, as "was made for ..."; "" where nothing speaks against it.

    The engine loads neither then ("model arch and LoRA arch mismatch", "does not exist in base model", "has incorrect
    shape").

    Args:
        adapter: what its header says (`read_adapter`).
        model: facts of the model that it shall change (facts.model_facts).
    """
    made_for, own = adapter["architecture"], model["architecture"]
    if made_for not in (own, *_LOADED_AS.get(own, ())):
        made = "the architecture %.80s" % made_for if made_for else "no architecture"
        return "was made for %s, and the model has the architecture %s" % (made, own)
    beyond = [int(block) for block in adapter["layer_bytes"] if int(block) >= model["block_count"]]
    if beyond:
        return "changes block %d, and the model has the blocks 0 to %d" % (min(beyond), model["block_count"] - 1)
    for name, shapes in sorted(adapter["shapes"].items()):
        # Not every source tells the shapes of the model's tensors.
        there = _once(list(kind[name][:2]) for kind in model.get("layer_kinds") or () if name in kind)
        other = [shape for shape in shapes if there and shape not in there]
        if other:
            return "changes matrices %s of %d x %d, and the model has them of %s" % (
                name,
                *other[0],
                " and ".join("%d x %d" % tuple(shape) for shape in there),
            )
    return ""


def _shapes(header: Header) -> dict[str, list[list[int]]]:
    """Return {name of a matrix of a block: the shapes [in, out] that an adapter changes}: those of A and B."""
    found: dict[str, list[list[int]]] = {}
    ends = {tensor.name: tensor.shape for tensor in header.tensors if len(tensor.shape) >= 2}
    for name, shape in ends.items():
        match, base = _BLOCK.match(name), name[: -len(".lora_a")]
        if not match or not name.endswith(".lora_a") or base + ".lora_b" not in ends:
            continue
        matrix = base[match.end() :]
        if matrix in found or len(found) < _MOST_MATRICES:
            found[matrix] = _once(found.get(matrix, []) + [[shape[0], ends[base + ".lora_b"][1]]])[:_MOST_SHAPES]
    return found


def _once(shapes: Iterable[list[int]]) -> list[list[int]]:
    """Return shapes without those that are there before."""
    return [list(shape) for shape in dict.fromkeys(map(tuple, shapes))]


def _rank(name: str, shape: Any) -> int:
    """Return the rank by a tensor B, whose rows it is; 0 for another tensor."""
    return shape[0] if name.endswith(".lora_b") and shape else 0
