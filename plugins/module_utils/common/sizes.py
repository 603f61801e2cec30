# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes in words, for messages only; data stays in bytes."""

from __future__ import annotations

GIB = 1024**3
MIB = 1024**2


def gib(size):
    """A size in bytes as people read it: "46.9 GiB" or "214 MiB"."""
    return "%.1f GiB" % (size / GIB) if size >= GIB else "%d MiB" % (size // MIB)


def on_cpu(predicted):
    """How a model runs that is not wholly on GPUs: "with 60 of 81 layers on GPUs and the rest on the CPU"."""
    layers, total = predicted["gpu_layers"], predicted["total_layers"]
    if not layers:
        return "on the CPU alone"
    if layers < total:
        return "with %d of %d layers on GPUs and the rest on the CPU" % (layers, total)
    return "with all %d layers on GPUs, but with %s of the weights on the CPU" % (total, gib(predicted["host_bytes"]))
