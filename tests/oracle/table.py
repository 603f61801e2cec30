# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine's own answers (engine-table.jsonl, made by record.py) beside what the product predicts."""

from __future__ import annotations

import functools
import io
import json
import pathlib

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.model import hyperparameters
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.facts import model_facts
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import read_header
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.parts import merge

from tests.oracle.engine import families
from tests.rig.models import gguf

TABLE = pathlib.Path(__file__).resolve().parent / "engine-table.jsonl"
MIB = 1024 * 1024
PARTS = ("weight_bytes", "kv_bytes", "compute_bytes")


def rows(path=TABLE):
    """The rows of a table; its first line, which says what was asked of which build, is left out."""
    return [
        json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()[1:] if line.strip()
    ]


@functools.lru_cache(maxsize=None)
def model(name):
    """The `model` of model_info for a model of the oracle, read from the header that the engine was given."""
    files = [gguf.header(pairs, tensors) for pairs, tensors in families.files_of(name).values()]
    found = model_facts(merge([read_header(io.BytesIO(head).read) for head, unused in files]))
    size = sum(len(head) + size for head, size in files)
    return dict(found, name=name, source="file", digest=None, size_bytes=size, file_bytes=size)


@functools.lru_cache(maxsize=None)
def facts(name):
    """The ModelFacts of a model of the oracle, as the rooms of the product take them."""
    return hyperparameters.complete(model(name))


def predicted(row):
    """memory.estimate for a row."""
    shares = row["tensor_split"] or row["devices_mib"]
    load = Load(
        context_length=row["n_ctx"] // row["n_parallel"],
        parallel=row["n_parallel"],
        ubatch=min(row["n_ubatch"], row["n_ctx"]),
        cache_type=row["cache_type"],
        flash_attention=row["flash_attn"] != "off",
        unified=row.get("kv_unified", False),
        outputs=row["n_parallel"] if "kv_unified" in row else None,  # of llama-server, which has no room for more
    )
    all_layers = row["n_gpu_layers"] > facts(row["model"]).block_count
    return estimate.estimate(facts(row["model"]), shares, load, None if all_layers else row["n_gpu_layers"])


def devices(row):
    """[(the engine's [weights, KV, compute] in MiB, ours in MiB, layers there, layers here)] of a row."""
    pairs = []
    for index, device in enumerate(predicted(row).devices):
        name = "RPC%d" % index
        ours = [getattr(device, part) / MIB for part in PARTS]
        pairs.append((row["mib"][name], ours, row["layers"][name], device.layers))
    return pairs


def exact(engine, ours):
    """Whether weights and KV of a device are the engine's to 1 MiB (it cuts its figures off)."""
    return all(-1 < mine - theirs < 1.01 for theirs, mine in zip(engine[:2], ours[:2]))


def close(engine, ours):
    """Whether a device's total is within max(3 %, 128 MiB) of the engine's."""
    total = sum(engine)
    return abs(sum(ours) - total) <= max(0.03 * total, 128)


def near(engine, ours):
    """Whether a device is both."""
    return exact(engine, ours) and close(engine, ours)


def compare(row):
    """(expected, got) for the replayer: [weights, KV, compute] MiB and layers of every device.

    Ours count as the engine's where they are near.
    """
    expected, got = {}, {}
    for index, (engine, ours, layers, our_layers) in enumerate(devices(row)):
        expected[str(index)] = engine + [layers]
        got[str(index)] = (engine if near(engine, ours) else [round(value, 1) for value in ours]) + [our_layers]
    return expected, got
