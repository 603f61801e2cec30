# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""LoRA adapters for the rig's models, as sparse files."""

from __future__ import annotations

from tests.rig.models import catalog, gguf


def write_adapter(path, model, rank, parts, **pairs):
    """Write an adapter for the matrices of a model whose names hold one of `parts`; return its path as text."""
    tensors = []
    for name, _kind, shape in catalog.tensors_of(model):
        if len(shape) == 2 and any(part in name for part in parts):
            tensors += [(name + ".lora_a", "F16", (shape[0], rank)), (name + ".lora_b", "F16", (rank, shape[1]))]
    found = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", **pairs}
    head, size = gguf.header(found, tensors)
    with open(path, "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)
    return str(path)
