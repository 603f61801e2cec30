# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""LoRA adapters (--lora): bytes on each device and lines of the log, as llama-server of build 11669 has them.

Each tensor lies beside the one that it changes. The compute buffers are reserved again after the first run; with the
rig's models they did not grow by 0.01 MiB where all layers are on devices, and by 0.34 MiB with layers on the host.
"""

from __future__ import annotations

import os

from tests.rig.engine import header as gguf_header

MIB = 1024 * 1024


class AdapterError(Exception):
    """An adapter that cannot be loaded. `lines` are what the engine says about it."""

    def __init__(self, path, line):
        super().__init__(line)
        self.lines = [line, "cmn  common_init_: failed to load lora adapter '%s'" % path]


class Adapter:
    """One adapter over a load: `path`, `devices` (bytes on each), `host` (bytes), `count` of tensors."""

    def __init__(self, path, model, load):
        self.path, self.host, self.count = path, 0, 0
        self.devices = [0] * len(load.parts)
        for name, size in _tensors(path, model):
            place = _place(name, load)
            self.count += 1
            if place is None:
                self.host += size
            else:
                self.devices[place] += size

    def lines(self, devices):
        """What is logged while it is loaded."""
        sizes = [(device.name, size) for device, size in zip(devices, self.devices)] + [("CPU_Mapped", self.host)]
        return [
            "llama_adapter_lora_init: loading lora adapter from '%s' ..." % self.path,
            "llama_adapter_lora_init_impl: Dumping metadata keys/values.",
            *[
                "llama_adapter_lora_init_impl: %10s LoRA buffer size = %8.2f MiB" % (name, size / MIB)
                for name, size in sizes
                if size
            ],
            "llama_adapter_lora_init_impl: loaded %d tensors from lora file" % self.count,
        ]


def _tensors(path, model):
    """[(name, bytes)] of an adapter's tensors. Raises AdapterError where it does not go with the model."""
    try:
        found = gguf_header.read_header(path)
    except (OSError, gguf_header.HeaderError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) else str(error)
        raise AdapterError(path, "llama_adapter_lora_init: failed to open '%s': %s" % (path, why))
    kind = found.pairs.get("general.type")
    if kind != "adapter":
        raise _refused(path, "expect general.type to be 'adapter', but got: %s" % kind)
    shapes = {name: shape for name, _kind, shape, _size in model.tensors}
    for name, _kind, shape, _size in found.tensors:
        base, _dot, which = name.rpartition(".")
        if base not in shapes:
            raise _refused(path, "LoRA tensor '%s' does not exist in base model (hint: maybe wrong base model?)" % base)
        end = 0 if which == "lora_a" else 1
        if shape[end] != shapes[base][end]:
            raise _refused(path, "tensor '%s' has incorrect shape (hint: maybe wrong base model?)" % base)
    return [(name, size) for name, _kind, _shape, size in found.tensors]


def _refused(path, why):
    return AdapterError(path, "llama_adapter_lora_init_from_file_ptr: failed to apply lora adapter: %s" % why)


def _place(name, load):
    """The device of the tensor that is changed; None = the host."""
    if name.startswith("token_embd."):
        return None
    layer = int(name.split(".")[1]) if name.startswith("blk.") else load.of - 1
    number = layer - (load.of - len(load.places))
    return load.places[number] if number >= 0 else None
