# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The formulas of the peers, each as its authors wrote it, for a model on one GPU that holds everything.

Each gives {part: MiB} of a row of tests/oracle/engine-table.jsonl: `total`, and of the parts those that the formula
knows. The engine's figures are its buffers without the driver's context on the device, so what a formula counts for
that context is left out.

* pre-check: `PredictServerVRAM` of llm/llama_server.go, Ollama 0.30.0 to 0.32.15: the file and an f16 cache of all
  layers; Ollama holds it against 80 % of the free memory (server/sched.go);
* 0.11.4: `EstimateGPULayers` of llm/memory.go with `GraphSize` of fs/ggml/ggml.go, with flash attention and the cache
  type in the environment; the 457 MiB that it keeps for the context of a GPU are left out, one layer that it keeps as
  a reserve is not;
* regression: `estimate_vram` of text-generation-webui (oobabooga), modules/models_settings.py, for all layers. It was
  fitted to memory measured on the GPU, of which CONTEXT_MIB are taken off.
"""

from __future__ import annotations

import math

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import dimensions, estimator

MIB = 1024 * 1024
CONTEXT_MIB = 300
BITS = {"f16": 16, "q8_0": 8, "q4_0": 4}


def pre_check(model, row):
    """Weights are the file, every layer has the smallest number of KV heads (at least 1), the cache is always f16."""
    heads, kv_heads = max(model.head_count or [1]), min(model.head_count_kv or [1]) or 1
    width = model.embedding_length // heads if heads else 0
    weights, cache = model.file_bytes / MIB, 2 * model.block_count * kv_heads * width * row["n_ctx"] * 2 / MIB
    return {"weights": weights, "KV cache": cache, "total": weights + cache}


def ollama_0_11_4(model, row):
    """The estimate for one GPU with room for everything."""
    dims = dimensions.Dimensions(model)
    asked = {
        "OLLAMA_FLASH_ATTENTION": "1" if row["flash_attn"] == "on" else "0",
        "OLLAMA_KV_CACHE_TYPE": row["cache_type"],
    }
    gpu = {"library": "cuda", "free_bytes": 2**60, "minimum_bytes": 0, "compute_capability": (8, 6)}
    load = estimator.EstimatedLoad(dims, (0, 11, 4), -1, row["n_ubatch"], row["n_parallel"], 0, 0, asked, [gpu])
    found = estimator.estimate(load, [gpu], row["n_ctx"])
    weights = sum(dims.block_bytes) + dims.output_bytes
    return {
        "weights": weights / MIB,
        "KV cache": found.kv / MIB,
        "compute": found.graph / MIB,
        "total": found.vram_size / MIB,
    }


def regression(model, row):
    """One figure for everything; `kv_heads` the largest of the layers, sizes in MiB, the cache in bits."""
    layers, bits = model.block_count, BITS[row["cache_type"]]
    kv_heads = max(model.head_count_kv or [0])
    per_layer = (
        model.file_bytes / MIB / layers - 17.99552795246051 + 3.148552680382576e-05 * kv_heads * bits * row["n_ctx"]
    )
    beside = max(
        0.9690636483914102,
        bits - (math.floor(50.77817218646521 * model.embedding_length / row["n_ctx"]) + 9.987899908205632),
    )
    return {"total": per_layer * (layers + beside) + 1516.522943869404 - CONTEXT_MIB}


PEERS = (("pre-check", pre_check), ("0.11.4", ollama_0_11_4), ("regression", regression))
