# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Header of a model -> the facts that the plan needs: exact bytes per layer and the hyperparameters of `memory/`. Pure.

Which tensor lies where follows llama.cpp (src/llama-arch.cpp LLM_TENSOR_INFOS, src/llama-model.cpp load_tensors):
`blk.N.*` is layer N, input tensors stay on the CPU, everything else of the text model goes with the output layer.
"""

from __future__ import annotations

import math
import re

from .estimator import estimator_facts
from .header import MAX_TENSORS, Header, HeaderError, check_names
from .types import FILE_TYPES

_BLOCK = re.compile(r"blk\.(\d+)\.")
_EXPERT = re.compile(
    r"\.ffn_(?:up|down|gate|gate_up)_(?:ch)?exps|\.ffn_(?:up|down|gate)\.\d+\."
)  # the second form: Mixtral files of 2023
_FEED_FORWARD = re.compile(
    r"\.ffn_(up|gate|down)"
)  # whatever begins alike, as the patterns of llama.cpp's fit (common/fit.cpp) take it
_INPUT = ("token_embd", "per_layer_token_embd", "token_types", "position_embd")
_FIRST_LAYER = (
    "per_layer_model_proj",
    "per_layer_proj_norm",
)  # gemma3n, gemma4: loaded with layer 0 (src/models/gemma4.cpp)
_PROJECTOR = ("v.", "mm.", "a.")
# The most that any real model has (DeepSeek, Kimi, Llama 405B: 61 to 126); beyond it the file is damaged, and a list of that length harmful.
MAX_BLOCKS = 4096
MAX_TENSORS_OF_LAYER = 512  # 128 experts in files of 2023, each on its own
MAX_KINDS = 256
MAX_HYPERPARAMETERS = 256


def merge(headers, parts=None):
    """One Header of the parts of a split model (`split.count` files): keys of the first, tensors of all.

    headers: Headers in order, or an iterator of them, of which one at a time is kept; parts: how many there are (None: a list, its length).
    Raises HeaderError where the parts do not belong together: llama.cpp writes into each its number (`split.no`, from 0), their count and
    the number of tensors of all (`split.tensors.count`).
    """
    parts = len(headers) if parts is None else parts
    first, tensors, size = None, [], 0
    for place, header in enumerate(headers):
        count, number = _integer(header.keys.get("split.count")), _integer(header.keys.get("split.no"))
        if count is not None and count != parts and (count > 1 or parts > 1):
            raise HeaderError(
                "part %d of the model says that there are %d parts, but there are %d; get all parts, named -00001-of-%05d.gguf and so on"
                % (place + 1, count, parts, max(count, 1) % 100000)
            )
        if parts > 1 and number is not None and number != place:
            raise HeaderError(
                "part %d of the model says that it is part %d; get the parts again" % (place + 1, number + 1)
            )
        first = first or header
        tensors.extend(header.tensors)
        size += header.size_bytes
        if parts > 1 and len(tensors) > MAX_TENSORS:
            raise HeaderError("the parts of the model have %d tensors together; the files are damaged" % len(tensors))
    if parts == 1:
        return first
    check_names(tensors)
    total = _integer(first.keys.get("split.tensors.count"))
    if total is not None and total != len(tensors):
        raise HeaderError("the parts of the model have %d of its %d tensors; get all parts" % (len(tensors), total))
    return Header(first.version, first.keys, first.lengths, tensors, size)


def model_facts(header, projector=None):
    """The `model` dictionary without name, source, digest and file sizes (bytes are ints, lengths tokens, unknown is None).

    header: Header of the model; projector: Header of a separate projector file, or None. Raises HeaderError.
    """
    keys = header.keys
    architecture = keys.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise HeaderError("the GGUF header does not name an architecture (general.architecture), so it is no model")
    if architecture == "clip":
        raise HeaderError("the file is a vision projector, not a model; give the file of the language model")
    unknown = sorted(set(tensor.type for tensor in header.tensors if tensor.bytes is None))
    if unknown:
        raise HeaderError(
            "the model has tensors of an unknown %s, so its size cannot be computed; this collection is older than the model"
            % ", ".join(unknown)
        )

    def key(name, *others):
        for candidate in (name,) + others:
            value = keys.get("%s.%s" % (architecture, candidate))
            if value is not None:
                if any(isinstance(item, int) and item < 0 for item in (value if isinstance(value, list) else [value])):
                    raise HeaderError(
                        "the key %.200s.%s of the GGUF header is negative; the file is damaged"
                        % (architecture, candidate)
                    )
                return value
        return None

    blocks = _integer(key("block_count"))
    if blocks is None:
        raise HeaderError(
            "the GGUF header does not say how many layers the model has (%.80r plus .block_count)" % architecture
        )
    if not 0 <= blocks <= MAX_BLOCKS:
        raise HeaderError("the model claims %d layers; the file is damaged" % blocks)
    head_count = _per_layer(key("attention.head_count"), blocks)
    head_count_kv = (
        _per_layer(key("attention.head_count_kv"), blocks) or head_count
    )  # llama.cpp: n_head_kv defaults to n_head
    embedding = _integer(key("embedding_length"))
    # llama.cpp: both lengths default to n_embd / n_head
    default_length = embedding // max(head_count) if embedding and head_count and max(head_count) else None
    facts = {
        "architecture": architecture,
        "parameter_count": _integer(keys.get("general.parameter_count")) or _elements(header.tensors),
        "quantization": FILE_TYPES.get(_integer(keys.get("general.file_type"))),
        "block_count": blocks,
        "context_length": _integer(key("context_length")),
        "embedding_length": embedding,
        "feed_forward_length": _largest(key("feed_forward_length")),
        "vocab_size": _vocab_size(header, key("vocab_size")),
        "head_count": head_count,
        "head_count_kv": head_count_kv,
        "key_length": _integer(key("attention.key_length")) or default_length,
        "value_length": _integer(key("attention.value_length")) or default_length,
        "key_length_mla": _integer(key("attention.key_length_mla")),
        "value_length_mla": _integer(key("attention.value_length_mla")),
        "kv_lora_rank": _integer(key("attention.kv_lora_rank")),
        "rope_dimension_count": _integer(key("rope.dimension_count")),
        "sliding_window": _largest(key("attention.sliding_window")) or None,
        "sliding_window_pattern": _pattern(key("attention.sliding_window_pattern")),
        "attention_chunk_size": _integer(key("attention.chunk_size", "attention_chunk_size")),
        "expert_count": _integer(key("expert_count")),
        "expert_used_count": _integer(key("expert_used_count")),
        "expert_feed_forward_length": _integer(key("expert_feed_forward_length")),
        "leading_dense_block_count": _integer(key("leading_dense_block_count")),
        "full_attention_interval": _integer(key("full_attention_interval")),
        "shared_kv_layers": _integer(key("attention.shared_kv_layers")),
        "ssm": _ssm(key),
        "hyperparameters": _hyperparameters(keys, architecture, blocks),
        "split_count": _integer(keys.get("split.count")) or 1,
        "tensor_count": len(header.tensors),
    }
    facts.update(_weights(header, blocks))
    _add_kinds(facts, header)
    facts["estimator"] = estimator_facts(header)
    facts["projector_separate"] = projector is not None
    if projector is not None:
        facts["projector_bytes"] += sum(tensor.bytes or 0 for tensor in projector.tensors)
    facts["capabilities"] = _capabilities(facts, key)
    return facts


def _weights(header, blocks):
    """Bytes of the tensors by place: layers, output, embedding, projector."""
    layers = [
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
        match = _BLOCK.match(tensor.name)
        if match and int(match.group(1)) < len(layers):
            layer = layers[int(match.group(1))]
            layer["weight_bytes"] += tensor.bytes
            if _EXPERT.search(tensor.name):
                layer["expert_bytes"] += tensor.bytes
            part = _FEED_FORWARD.search(tensor.name)
            if part:
                layer["ffn_%s_bytes" % part.group(1)] += tensor.bytes
        elif tensor.name.startswith(_PROJECTOR):
            projector += tensor.bytes
        elif tensor.name.startswith(_INPUT):
            embedding += tensor.bytes
            if tensor.name == "token_embd.weight":
                token_embedding = tensor.bytes
        elif tensor.name.startswith(_FIRST_LAYER) and layers:
            layers[0]["weight_bytes"] += tensor.bytes
        else:
            output += tensor.bytes
            tied = tied and tensor.name != "output.weight"
    return {
        "layers": layers,
        "output_bytes": output,
        "embedding_bytes": embedding,
        "token_embedding_bytes": token_embedding,
        "projector_bytes": projector,
        "tied_embeddings": tied,
    }


def _add_kinds(facts, header):
    """Name and shape of the tensors of every layer, each different set once: `layer_kinds`, and for every layer its number `kind`.

    In the same way their bytes, which differ between layers of one shape: `layer_sizes` and `sizes`, and those of the tensors beside the layers:
    `other_sizes`. The compute buffers follow from them (memory/graph). A layer with more tensors than any real one has none (None).
    """
    found = [({}, {}) for unused in facts["layers"]]
    facts["other_sizes"] = {}
    for tensor in header.tensors:
        match = _BLOCK.match(tensor.name)
        if match and int(match.group(1)) < len(found):
            shapes, sizes = found[int(match.group(1))]
            name = tensor.name[match.end() :]
            shapes[name], sizes[name] = list(tensor.shape), tensor.bytes
        elif not tensor.name.startswith(_PROJECTOR) and len(facts["other_sizes"]) < MAX_TENSORS_OF_LAYER:
            facts["other_sizes"][tensor.name] = tensor.bytes
    facts["layer_kinds"] = _numbered(facts["layers"], "kind", [shapes for shapes, unused in found])
    facts["layer_sizes"] = _numbered(facts["layers"], "sizes", [sizes for unused, sizes in found])


def _numbered(layers, key, found):
    """Each different one of `found` (a dictionary a layer) once; every layer gets its number under `key`, or None."""
    different, numbers = [], {}
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


def _hyperparameters(keys, architecture, blocks):
    """Every number of the header under the architecture's name, and every list of one number a layer, by the name that follows it."""
    prefix = architecture + "."
    found = {}
    for name, value in keys.items():
        if not name.startswith(prefix) or len(found) >= MAX_HYPERPARAMETERS:
            continue
        numbers = (
            isinstance(value, list)
            and 0 < len(value) <= blocks
            and all(isinstance(item, (bool, int)) for item in value)
        )
        if isinstance(value, float) and not math.isfinite(value):
            continue  # JSON has no word for it
        if numbers or isinstance(value, (bool, int, float)):
            # A server writes 32 bit numbers shorter than they are in the file.
            found[name[len(prefix) :]] = float("%.6g" % value) if isinstance(value, float) else value
    return found


def _integer(value):
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _largest(value):
    """Some architectures give a list, one number a layer; what is allocated once a device follows the largest."""
    if isinstance(value, list):
        numbers = [number for number in (_integer(item) for item in value) if number is not None]
        return max(numbers) if numbers else None
    return _integer(value)


def _per_layer(value, blocks):
    """One int a layer of a number or list; None where the header does not say, or says it for another number of layers."""
    if isinstance(value, list):
        if len(value) < blocks or any(_integer(item) is None for item in value):
            return None
        return value[:blocks]
    return [value] * blocks if _integer(value) is not None else None


def _pattern(value):
    """List of bool a layer (True = windowed), int period, or None."""
    if isinstance(value, list):
        return [bool(item) for item in value] or None
    return _integer(value)


def _vocab_size(header, stated):
    """Rows of the token embedding: what the buffers are allocated for, also where the stated size is not padded alike."""
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) > 1:
            return tensor.shape[1]
    return _integer(stated) or header.lengths.get("tokenizer.ggml.tokens")


def _ssm(key):
    names = ("conv_kernel", "inner_size", "state_size", "group_count", "time_step_rank")
    values = dict((name, _integer(key("ssm." + name))) for name in names)
    return values if any(value is not None for value in values.values()) else None


def _elements(tensors):
    total = 0
    for tensor in tensors:
        elements = 1
        for dimension in tensor.shape:
            elements *= dimension
        total += elements
    return total or None


def _capabilities(facts, key):
    """What the header alone tells (Ollama's server/images.go Capabilities); "tools" and "thinking" would need the template."""
    capabilities = ["embedding" if key("pooling_type") is not None else "completion"]
    if facts["projector_separate"] or facts["projector_bytes"] or key("vision.block_count"):
        capabilities.append("vision")
    return capabilities
