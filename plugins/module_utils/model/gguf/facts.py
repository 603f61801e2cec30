# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a model from its header: exact bytes per layer, and the hyperparameters that `memory/` needs. Pure.

Where each tensor goes follows llama.cpp (src/llama-arch.cpp LLM_TENSOR_INFOS, src/llama-model.cpp load_tensors):
`blk.N.*` is layer N, input tensors stay on the CPU, and all else of the text model goes with the output layer.
"""

from __future__ import annotations

import math
import re
from typing import Any, Sequence

from .estimator import estimator_facts
from .header import Header, HeaderError, Tensor, integer
from .types import FILE_TYPES

_BLOCK = re.compile(r"blk\.(\d+)\.")
# Begin of the names of tensors before and after the layers (LLM_TENSOR_NAMES in llama.cpp's src/llama-arch.cpp).
_AROUND_LAYERS = frozenset(
    "token_embd token_embd_norm token_types position_embd per_layer_token_embd output output_norm rope_freqs".split()
)
# The second form is that of Mixtral files of 2023.
_EXPERT = re.compile(r"\.ffn_(?:up|down|gate|gate_up)_(?:ch)?exps|\.ffn_(?:up|down|gate)\.\d+\.")
# Any name with this beginning counts, as in the patterns of llama.cpp's fit (common/fit.cpp).
_FEED_FORWARD = re.compile(r"\.ffn_(up|gate|down)")
_INPUT = ("token_embd", "per_layer_token_embd", "token_types", "position_embd")
# gemma3n and gemma4 load these with layer 0 (src/models/gemma4.cpp).
_FIRST_LAYER = ("per_layer_model_proj", "per_layer_proj_norm")
_PROJECTOR = ("v.", "mm.", "a.")
# Real models have at most 126 layers (Llama 405B). A file with more than this is damaged, and its lists too long.
MAX_BLOCKS = 4096
MAX_TENSORS_OF_LAYER = 512  # files of 2023 have up to 128 experts as tensors of their own
MAX_KINDS = 256
MAX_HYPERPARAMETERS = 256


class _Keys:
    """The keys of a header under the name of its architecture ("llama.block_count")."""

    def __init__(self, header: Header) -> None:
        self.all = header.keys
        self.architecture = _architecture(header)

    def value(self, *names: str) -> Any:
        """Return the value of the first of these keys that the header has, None without one. Raises HeaderError."""
        for name in names:
            value = self.all.get("%s.%s" % (self.architecture, name))
            if value is None:
                continue
            if any(isinstance(item, int) and item < 0 for item in (value if isinstance(value, list) else [value])):
                raise HeaderError(
                    "the key %.200s.%s of the GGUF header is negative; the file is damaged" % (self.architecture, name)
                )
            return value
        return None

    def integer(self, *names: str) -> int | None:
        """Return the value of the first of these keys that the header has, None where it is no integer."""
        return integer(self.value(*names))


def model_facts(header: Header, projector: Header | None = None) -> dict[str, Any]:
    """Return the facts of a model (model.schema.ModelFacts) without name, source, digest and file sizes.

    Args:
        header: of the model.
        projector: of a separate projector file.

    Raises:
        HeaderError: the header is not that of a model, or is damaged.
    """
    keys = _Keys(header)
    if not header.tensors:
        raise HeaderError("the GGUF file has no tensors, so there is no model to load; get the whole model")
    if all(tensor.name.split(".")[0] in _AROUND_LAYERS for tensor in header.tensors):
        raise HeaderError(
            "the GGUF file has tensors of no layer (only %s), so there is no model to load; get the whole model"
            % ", ".join(sorted({tensor.name.split(".")[0] for tensor in header.tensors}))
        )
    unknown = sorted(set(tensor.type for tensor in header.tensors if tensor.bytes is None))
    if unknown:
        raise HeaderError(
            "the model has tensors of an unknown %s, so its size cannot be computed; "
            "this collection is older than the model" % ", ".join(unknown)
        )
    blocks = _block_count(keys)
    facts: dict[str, Any] = {
        "architecture": keys.architecture,
        "parameter_count": integer(keys.all.get("general.parameter_count")) or _elements(header.tensors),
        "quantization": _quantization(keys),
        "block_count": blocks,
        "context_length": keys.integer("context_length"),
        "feed_forward_length": _largest(keys.value("feed_forward_length")),
        "vocab_size": _vocab_size(header, keys.value("vocab_size")),
        "rope_dimension_count": keys.integer("rope.dimension_count"),
        "expert_count": keys.integer("expert_count"),
        "expert_used_count": keys.integer("expert_used_count"),
        "expert_feed_forward_length": keys.integer("expert_feed_forward_length"),
        "leading_dense_block_count": keys.integer("leading_dense_block_count"),
        "ssm": _ssm(keys),
        "hyperparameters": _hyperparameters(keys, blocks),
        "split_count": integer(keys.all.get("split.count")) or 1,
        "tensor_count": len(header.tensors),
    }
    facts.update(_attention(keys, blocks))
    facts.update(_weights(header, blocks))
    _check_layers(facts, keys)
    _add_kinds(facts, header)
    facts["estimator"] = estimator_facts(header)
    facts["projector_separate"] = projector is not None
    if projector is not None:
        facts["projector_bytes"] += sum(tensor.bytes or 0 for tensor in projector.tensors)
    facts["capabilities"] = _capabilities(facts, keys)
    return facts


def _architecture(header: Header) -> str:
    architecture = header.keys.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise HeaderError("the GGUF header does not name an architecture (general.architecture), so it is no model")
    if architecture == "clip":
        raise HeaderError("the file is a vision projector, not a model; give the file of the language model")
    return architecture


def _quantization(keys: _Keys) -> str | None:
    file_type = integer(keys.all.get("general.file_type"))
    return None if file_type is None else FILE_TYPES.get(file_type)


def _block_count(keys: _Keys) -> int:
    blocks = keys.integer("block_count")
    if blocks is None:
        raise HeaderError(
            "the GGUF header does not say how many layers the model has (%.80r plus .block_count)" % keys.architecture
        )
    if not 0 <= blocks <= MAX_BLOCKS:
        raise HeaderError("the model claims %d layers; the file is damaged" % blocks)
    return blocks


def _check_layers(facts: dict[str, Any], keys: _Keys) -> None:
    """Raise HeaderError where layers have no tensors: llama.cpp does not load such a file ("tensor not found").

    A layer without heads may have none (DeciLM). The layers that predict further tokens may be left out of a file, or
    be all that it has: then it is a draft model.
    """
    heads, predicting = facts["head_count"] or [], keys.integer("nextn_predict_layers") or 0
    trunk = len(heads) - predicting
    missing = [index for index in range(trunk) if heads[index] and not facts["layers"][index]["weight_bytes"]]
    if missing and not (predicting and len(missing) == trunk):
        raise HeaderError(
            "the GGUF file has no tensors of %d of the model's %d layers (the first is layer %d), so it is a part of a "
            "model; get the whole model" % (len(missing), len(heads), missing[0])
        )


def _attention(keys: _Keys, blocks: int) -> dict[str, Any]:
    """Return the facts about attention, with llama.cpp's defaults.

    In llama.cpp n_head_kv defaults to n_head, and the lengths of key and value to n_embd / n_head.
    """
    head_count = _per_layer(keys.value("attention.head_count"), blocks)
    embedding = keys.integer("embedding_length")
    default_length = embedding // max(head_count) if embedding and head_count and max(head_count) else None
    return {
        "embedding_length": embedding,
        "head_count": head_count,
        "head_count_kv": _per_layer(keys.value("attention.head_count_kv"), blocks) or head_count,
        "key_length": keys.integer("attention.key_length") or default_length,
        "value_length": keys.integer("attention.value_length") or default_length,
        "key_length_mla": keys.integer("attention.key_length_mla"),
        "value_length_mla": keys.integer("attention.value_length_mla"),
        "kv_lora_rank": keys.integer("attention.kv_lora_rank"),
        "sliding_window": _largest(keys.value("attention.sliding_window")) or None,
        "sliding_window_pattern": _pattern(keys.value("attention.sliding_window_pattern")),
        "attention_chunk_size": keys.integer("attention.chunk_size", "attention_chunk_size"),
        "full_attention_interval": keys.integer("full_attention_interval"),
        "shared_kv_layers": keys.integer("attention.shared_kv_layers"),
    }


def _weights(header: Header, blocks: int) -> dict[str, Any]:
    """Return the bytes of the tensors by place: layers, output, embedding, projector."""
    layers: list[dict[str, Any]] = [
        {
            "index": index,
            "weight_bytes": 0,
            "expert_bytes": 0,
            "ffn_up_bytes": 0,
            "ffn_gate_bytes": 0,
            "ffn_down_bytes": 0,
        }
        for index in range(blocks)
    ]
    output = embedding = token_embedding = projector = 0
    tied = True
    for tensor in header.tensors:
        size = tensor.bytes or 0
        match = _BLOCK.match(tensor.name)
        if match and int(match.group(1)) < len(layers):
            layer = layers[int(match.group(1))]
            layer["weight_bytes"] += size
            if _EXPERT.search(tensor.name):
                layer["expert_bytes"] += size
            part = _FEED_FORWARD.search(tensor.name)
            if part:
                layer["ffn_%s_bytes" % part.group(1)] += size
        elif tensor.name.startswith(_PROJECTOR):
            projector += size
        elif tensor.name.startswith(_INPUT):
            embedding += size
            if tensor.name == "token_embd.weight":
                token_embedding = size
        elif tensor.name.startswith(_FIRST_LAYER) and layers:
            layers[0]["weight_bytes"] += size
        else:
            output += size
            tied = tied and tensor.name != "output.weight"
    return {
        "layers": layers,
        "output_bytes": output,
        "embedding_bytes": embedding,
        "token_embedding_bytes": token_embedding,
        "projector_bytes": projector,
        "tied_embeddings": tied,
    }


def _add_kinds(facts: dict[str, Any], header: Header) -> None:
    """Add the shapes and bytes of the tensors of every layer, from which the compute buffers follow (memory/graph).

    `layer_kinds` has every different set of names and shapes once, and each layer has its number as `kind`. In the same
    way `layer_sizes` and `sizes` hold the bytes, which differ between layers of one shape. `other_sizes` are the bytes
    of the tensors outside the layers. A layer with more tensors than any real one has None.
    """
    found: list[tuple[dict, dict]] = [({}, {}) for _layer in facts["layers"]]
    facts["other_sizes"] = {}
    for tensor in header.tensors:
        match = _BLOCK.match(tensor.name)
        if match and int(match.group(1)) < len(found):
            shapes, sizes = found[int(match.group(1))]
            name = tensor.name[match.end() :]
            shapes[name], sizes[name] = list(tensor.shape), tensor.bytes
        elif not tensor.name.startswith(_PROJECTOR) and len(facts["other_sizes"]) < MAX_TENSORS_OF_LAYER:
            facts["other_sizes"][tensor.name] = tensor.bytes
    facts["layer_kinds"] = _numbered(facts["layers"], "kind", [shapes for shapes, _sizes in found])
    facts["layer_sizes"] = _numbered(facts["layers"], "sizes", [sizes for _shapes, sizes in found])


def _numbered(layers: list[dict[str, Any]], key: str, found: Sequence[dict]) -> list[dict]:
    """Return the different dictionaries of `found` (one per layer); give each layer its number as `key`, or None."""
    different: list[dict] = []
    numbers: dict[str, int] = {}
    for layer, tensors in zip(layers, found):
        layer[key] = None
        if not tensors or len(tensors) > MAX_TENSORS_OF_LAYER:
            continue
        mark = repr(sorted(tensors.items()))
        if mark not in numbers:
            if len(different) >= MAX_KINDS:
                continue
            numbers[mark] = len(different)
            different.append(tensors)
        layer[key] = numbers[mark]
    return different


def _hyperparameters(keys: _Keys, blocks: int) -> dict[str, Any]:
    """Return the numbers, and the lists with a number per layer, under the architecture's name."""
    prefix = keys.architecture + "."
    found: dict[str, Any] = {}
    for name, value in keys.all.items():
        if not name.startswith(prefix) or len(found) >= MAX_HYPERPARAMETERS:
            continue
        numbers = (
            isinstance(value, list)
            and 0 < len(value) <= blocks
            and all(isinstance(item, (bool, int)) for item in value)
        )
        if isinstance(value, float) and not math.isfinite(value):
            continue  # JSON cannot hold it
        if numbers or isinstance(value, (bool, int, float)):
            # /api/show gives 32-bit numbers with fewer digits than the file.
            found[name[len(prefix) :]] = float("%.6g" % value) if isinstance(value, float) else value
    return found


def _largest(value: Any) -> int | None:
    """Return an integer, or the largest of a list with a number per layer: allocations per device follow it."""
    if isinstance(value, list):
        numbers = [number for number in (integer(item) for item in value) if number is not None]
        return max(numbers) if numbers else None
    return integer(value)


def _per_layer(value: Any, blocks: int) -> list[int] | None:
    """Return an integer per layer, from a number or a list; None where the list is for another number of layers."""
    if isinstance(value, list):
        if len(value) < blocks or any(integer(item) is None for item in value):
            return None
        return value[:blocks]
    return [value] * blocks if integer(value) is not None else None


def _pattern(value: Any) -> list[bool] | int | None:
    """Return a list with a bool per layer (True = sliding window), the period as an integer, or None."""
    if isinstance(value, list):
        return [bool(item) for item in value] or None
    return integer(value)


def _vocab_size(header: Header, stated: Any) -> int | None:
    """Return the rows of the token embedding, which size the buffers; the stated size may lack their padding."""
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) > 1:
            return tensor.shape[1]
    return integer(stated) or header.lengths.get("tokenizer.ggml.tokens")


def _ssm(keys: _Keys) -> dict[str, int | None] | None:
    names = ("conv_kernel", "inner_size", "state_size", "group_count", "time_step_rank")
    values = dict((name, keys.integer("ssm." + name)) for name in names)
    return values if any(value is not None for value in values.values()) else None


def _elements(tensors: list[Tensor]) -> int | None:
    total = 0
    for tensor in tensors:
        elements = 1
        for dimension in tensor.shape:
            elements *= dimension
        total += elements
    return total or None


def _capabilities(facts: dict[str, Any], keys: _Keys) -> list[str]:
    """Return the capabilities by the header (server/images.go Capabilities); those of the template are missing."""
    capabilities = ["embedding" if keys.value("pooling_type") is not None else "completion"]
    if facts["projector_separate"] or facts["projector_bytes"] or keys.value("vision.block_count"):
        capabilities.append("vision")
    return capabilities
