# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Drafts, heads that predict further tokens, LoRA adapters: llama-server's answers beside what the product predicts.

The rows (engine-speculation.jsonl) are those of record_speculation.py.
"""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Adapter

from tests.oracle import table
from tests.oracle.engine import speculative
from tests.rig.models import gguf

MIB = table.MIB


def _adapter(asked):
    """The Adapter of an adapter of a row."""
    layers = {}
    for name, kind, shape in speculative.adapter_file(asked)[1]:
        layer = int(name.split(".")[1])
        layers[layer] = layers.get(layer, 0) + gguf.tensor_bytes(kind, shape)
    return Adapter(layer_bytes=layers, rank=asked["rank"])


def predicted(row, facts_of=table.facts):
    """memory.estimate for a row; `facts_of`: the facts of a model by its name."""
    facts = facts_of(row["model"])
    facts = dataclasses.replace(
        facts,
        draft=facts_of(row["draft"]) if row["draft"] else None,
        adapters=[_adapter(asked) for asked in row["adapters"]],
    )
    load = Load(
        context_length=row["n_ctx"] // row["n_parallel"],
        parallel=row["n_parallel"],
        ubatch=row["n_ubatch"],
        cache_type=row["cache_type"],
        flash_attention=row["flash_attn"] != "off",
        unified=row["kv_unified"],
        outputs=row["n_parallel"] * (1 + row["drafted"]),
        speculation=row["speculation"],
        drafted=row["drafted"],
    )
    gpu_layers = row["n_gpu_layers"] if row["n_gpu_layers"] <= facts.block_count else None
    on_host = facts.layers[: row.get("cpu_experts", 0)]
    moved = {index: (layer.expert_bytes, None) for index, layer in enumerate(on_host) if layer.expert_bytes}
    return estimate.estimate(facts, row["tensor_split"] or row["devices_mib"], load, gpu_layers, moved)


def devices(row, facts_of=table.facts):
    """[(the engine's MiB, ours)] of every device of a row; `facts_of` as of `predicted`.

    MiB: [weights, KV cache, compute buffer, weights of the draft, its KV cache, its compute buffer, adapters]. The
    weights of the model's own heads are the model's.
    """
    pairs = []
    for index, device in enumerate(predicted(row, facts_of).devices):
        name = "RPC%d" % index
        draft = list(row.get("draft_mib", {}).get(name, (0, 0, 0)))
        drafting = device.drafting
        weights, theirs = device.weight_bytes, drafting.weight_bytes
        if not row["draft"]:
            draft[0] = 0
            weights, theirs = weights + theirs, 0
        ours = [weights, device.kv_bytes, device.compute_bytes]
        ours += [theirs, drafting.kv_bytes, drafting.compute_bytes, device.adapter_bytes]
        pairs.append((row["mib"][name] + draft + [row.get("adapter_mib", {}).get(name, 0)], [x / MIB for x in ours]))
    return pairs


def close(engine, ours):
    """Whether a device's total is within max(3 %, 128 MiB) of the engine's."""
    return abs(sum(ours) - sum(engine)) <= max(0.03 * sum(engine), 128)


def compare(row):
    """(expected, got) for the replayer; ours count as the engine's where they are close."""
    expected, got = {}, {}
    for index, (engine, ours) in enumerate(devices(row)):
        expected[str(index)] = engine
        got[str(index)] = engine if close(engine, ours) else [round(value, 1) for value in ours]
    return expected, got
