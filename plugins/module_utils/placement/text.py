# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes in words, for messages only; data stays in bytes."""

from __future__ import annotations

GIB = 1024**3
MIB = 1024**2


def gib(size):
    """A size in bytes as people read it: "46.9 GiB" or "214 MiB"."""
    return "%.1f GiB" % (size / GIB) if size >= GIB else "%d MiB" % (size // MIB)
