# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine's own answers (engine-table.jsonl and others, made by record.py) beside the product's predictions.

Rows of llama-server have `n_outputs_max`, the rows of logits that it has room for: they are predicted as for a release
that starts it so. Those of llama-fit-params are predicted as for one with logits for every token.
"""

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
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions

from tests.oracle.engine import families
from tests.rig.models import gguf

SERVED, OLDER = "0.32.15", "0.30.0"
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


def load_of(row, served, model=None):
    """The Load of a row, with the rows of logits that a release has.

    `served`: whether that release starts a llama-server with logits for its slots only; `model`: the facts, where the
    row's model is none of the oracle's.
    """
    release = versions.release_of(SERVED if served else OLDER)
    return Load(
        context_length=row["n_ctx"] // row["n_parallel"],
        parallel=row["n_parallel"],
        ubatch=min(row["n_ubatch"], row["n_ctx"]),
        cache_type=row["cache_type"],
        flash_attention=row["flash_attn"] != "off",
        unified=row.get("kv_unified", False),
        outputs=release.outputs(model or facts(row["model"]), row["n_parallel"], {}),
        embedding=served and release.embeds(model or facts(row["model"])),
    )


def predicted(row):
    """memory.estimate for a row."""
    shares = row["tensor_split"] or row["devices_mib"]
    all_layers = row["n_gpu_layers"] > facts(row["model"]).block_count
    load = load_of(row, "n_outputs_max" in row)
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


def outputs(row):
    """(the engine's rows of logits, ours) of a row of llama-server; None = one for every token of a batch."""
    ours = load_of(row, True).outputs
    return row["n_outputs_max"], row["n_ubatch"] if ours is None else ours


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
