# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers (provisional)."""

from __future__ import annotations

from . import kv_cache

F32 = 4
COPIES = 4  # llama.cpp GGML_SCHED_MAX_COPIES: inputs are kept in four copies under pipeline parallelism


def compute_by_device(model, counts, context_length, parallel=1, ubatch=512, flash_attention=True, full_offload=True):
    """Bytes of the compute buffer of every device."""
    row = F32 * ubatch * model["embedding_length"]
    logits = F32 * ubatch * model["vocab_size"]
    mask = 2 * ubatch * kv_cache.pad(context_length)
    if any(kv_cache.windowed_layers(model)):
        mask += 2 * ubatch * kv_cache.cells(context_length, parallel, ubatch, kv_cache.window_tokens(model))[0]
    if len(counts) == 1:
        return [logits + 4 * row + mask]
    inner = 22 * row
    sizes = [inner + COPIES * mask for dummy in counts]
    sizes[0] += 5 * row
    sizes[-1] = logits + 12 * row + COPIES * mask
    return sizes
