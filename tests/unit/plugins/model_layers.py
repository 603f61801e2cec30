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
