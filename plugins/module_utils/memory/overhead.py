# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a CUDA process holds on a device beside the model: the context of driver and libraries. Pure.

It is in no buffer line of the engine; NVML shows it in the process's memory. Figures are of single machines and
differ with the driver, so a measured value (option `overhead_bytes`) always wins.
"""

from __future__ import annotations

from typing import Optional, Tuple

from ..common.sizes import MIB

# Bytes by GPU architecture as gpu_facts names it, with the machine the figure was seen on.
CONTEXT_BYTES = {
    "kepler": (553 * MIB, "K80, CUDA 11.4"),
    "pascal": (214 * MIB, "P6000, largest of 152 to 214 MiB"),
    "ampere": (298 * MIB, "A40; an RTX 3090 had 264 MiB"),
    "ada": (470 * MIB, "RTX 4090, with the driver's reserve"),
}
# Ollama's own constant for a CUDA device (discover/gpu.go, 0.1.45 to 0.24: 457 MiB).
DEFAULT_CONTEXT_BYTES = (457 * MIB, "Ollama's constant, nothing recorded for this architecture")

# What an engine's process holds in the host's memory beside weights, KV cache and compute buffer: the libraries' own
# data and the server's (gguf-parser-go v0.25 counts the same; nothing recorded).
HOST_PROCESS_BYTES = 150 * MIB


def context_overhead(architecture: Optional[str], override: Optional[int] = None) -> Tuple[int, str]:
    """Bytes that one process holds on one device beside weights, KV cache and compute buffers.

    Args:
        architecture: name as gpu_facts gives it ("ampere", "ada", ...; any case), or None.
        override: a measured value in bytes, or None.

    Returns:
        (bytes, where the figure is from).
    """
    if override is not None:
        return override, "measured, given by the user"
    words = (architecture or "").lower().replace("_", " ").split()  # "Ada Lovelace" is "ada" in the table
    return CONTEXT_BYTES.get(words[0] if words else "", DEFAULT_CONTEXT_BYTES)
