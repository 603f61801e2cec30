# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models of several layers (adapters, drafts, parameters) in a store or a registry, for tests."""

from __future__ import annotations

import hashlib
import json
import os

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.rig.models import catalog, gguf
from tests.unit.plugins.scripted_server import ranges

TYPE = "application/vnd.ollama.image."
RANK = 16


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def parameters(**values):
    """A parameter layer, as Go writes it."""
    return ("params", json.dumps(values, separators=(",", ":")).encode() + b"\n", None)


def model(name="tiny"):
    """The model layer of a model of the rig."""
    head, size = catalog.header_of(name)
    return ("model", head, size)


def draft(name="tiny"):
    """A draft layer: any model of the rig."""
    head, size = catalog.header_of(name)
    return ("draft", head, size)


def adapter(blocks=range(8), width=64, more=(), architecture="llama"):
    """The layer of a LoRA adapter for one matrix of each block, and the bytes of one pair; `more` are tensors."""
    tensors = []
    for block in blocks:
        tensors.append(("blk.%d.attn_q.weight.lora_a" % block, "F16", [width, RANK]))
        tensors.append(("blk.%d.attn_q.weight.lora_b" % block, "F16", [RANK, width]))
    pairs = {"general.architecture": architecture, "general.type": "adapter", "adapter.type": "lora"}
    head, size = gguf.header(pairs, tensors + list(more))
    return ("adapter", head, len(head) + size)


def manifest_of(layers):
    """The bytes of a manifest with these layers: (kind, beginning of the blob, size or None for that)."""
    listed = [
        {"mediaType": TYPE + kind, "digest": digest_of(data), "size": len(data) if size is None else size}
        for kind, data, size in layers
    ]
    config = {"mediaType": "c", "digest": "sha256:" + "e" * 64, "size": 500}
    return json.dumps({"layers": listed, "config": config}).encode()


def in_store(directory, *layers, name="m"):
    """A store that has a model with these layers; the blobs are sparse."""
    store = Store(str(directory))
    for path, data, size in [(store.blob_path(digest_of(data)), data, size) for _kind, data, size in layers] + [
        (store.manifest_path(parse(name)), manifest_of(layers), None)
    ]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(data)
            stream.truncate(len(data) if size is None else size)
    return store


def routes(*layers):
    """The routes of a registry that has the model m with these layers."""
    table = {("GET", "/v2/library/m/manifests/latest"): (200, manifest_of(layers))}
    for _kind, data, _size in layers:
        table["GET", "/v2/library/m/blobs/" + digest_of(data)] = ranges(data)
    return table


def gemma3(kind="model", blocks=48, width=3840, heads=16, inner=15360):
    """A layer with a Gemma 3 text model of these dimensions: by default gemma3:12b, some 7 GB."""
    kv, size, vocabulary = heads // 2, 256, 262208
    pairs = {
        "general.architecture": "gemma3",
        "general.file_type": 15,
        "gemma3.block_count": blocks,
        "gemma3.context_length": 131072,
        "gemma3.embedding_length": width,
        "gemma3.feed_forward_length": inner,
        "gemma3.attention.head_count": heads,
        "gemma3.attention.head_count_kv": kv,
        "gemma3.attention.key_length": size,
        "gemma3.attention.value_length": size,
        "gemma3.attention.sliding_window": 1024,
    }
    tensors = [("token_embd.weight", "Q6_K", [width, vocabulary]), ("output_norm.weight", "F32", [width])]
    for block in range(blocks):
        shapes = {
            "attn_norm": ("F32", [width]),
            "attn_q": ("Q4_K", [width, heads * size]),
            "attn_k": ("Q4_K", [width, kv * size]),
            "attn_v": ("Q6_K", [width, kv * size]),
            "attn_q_norm": ("F32", [size]),
            "attn_k_norm": ("F32", [size]),
            "attn_output": ("Q4_K", [heads * size, width]),
            "post_attention_norm": ("F32", [width]),
            "ffn_norm": ("F32", [width]),
            "ffn_gate": ("Q4_K", [width, inner]),
            "ffn_up": ("Q4_K", [width, inner]),
            "ffn_down": ("Q6_K", [inner, width]),
            "post_ffw_norm": ("F32", [width]),
        }
        tensors += [("blk.%d.%s.weight" % (block, name), *shape) for name, shape in shapes.items()]
    head, size_bytes = gguf.header(pairs, tensors)
    return (kind, head, len(head) + size_bytes)
