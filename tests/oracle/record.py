# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the engine: write the tables of tests/oracle (*.jsonl) anew.

`python -m tests.oracle.record` takes about half an hour, as root. It asks llama-server, which Ollama starts from 0.30
on; llama-fit-params gives a smaller table for the builds before llama.cpp #23861 (2026-06-01), where a server had
logits for every token of a batch, as that program still has. `python -m tests.oracle.record NAME ...` records only
these of RECORDERS.

The first line of a table says what was asked and of which build; every other line is one dry run. The sample is drawn
anew but the same each time: for every model the values of each setting are drawn from a shuffled deck, so that each
comes up about equally often.
"""

from __future__ import annotations

import json
import pathlib
import random
import sys

from tests.oracle import fits, offload, record_speculation, rig_rows
from tests.oracle.engine import families, llama_server, sandbox
from tests.oracle.engine.dimensions import FURTHER, HELD_OUT, MODELS, of_model
from tests.oracle.engine.further import ESTIMATED_ONLY
from tests.rig.models import gguf

TABLE = pathlib.Path(__file__).resolve().parent / "engine-table.jsonl"
ESTIMATED = TABLE.with_name("engine-estimated.jsonl")  # rows of models whose compute buffers the product estimates only
OLDER = TABLE.with_name("engine-older.jsonl")  # by llama-fit-params
ROWS_PER_MODEL = 22
ROWS_PER_HELD_OUT = 14
ROWS_PER_OLDER = 3
SIZES = (49140, 49140, 49140, 24564, 24564, 12288, 81559)  # MiB of the devices that are there
CONTEXTS = (2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144)
DEVICES = (
    (49140,),
    (49140,),
    (24564,),
    (49140, 49140),
    (49140, 49140),
    (24564, 24564),
    (81559, 24564),
    (49140, 12288),
    (12288, 24564),
    (49140, 49140, 24564),
    (24564, 12288, 81559),
    (49140, 49140, 24564, 24564),
    (81559, 24564, 12288, 49140),
)
SPLITS = {
    1: (None,),
    2: (None, None, (1, 1), (1, 1), (3, 1), (2, 3)),
    3: (None, (1, 1, 1), (3, 2, 1)),
    4: (None, (1, 1, 1, 1), (4, 3, 2, 1)),
}
OFFLOADED = (1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.4)
PARALLEL = (1, 1, 1, 2, 3, 4)
UBATCHES = (512, 1024, 2048)
ATTENTION = (("on", "f16"), ("on", "f16"), ("on", "q8_0"), ("on", "q4_0"), ("off", "f16"))

UNIFIED = (False, False, True)  # Ollama never asks for it, but its environment may

# A longer context takes less on a device here, for the engine as well: its allocator takes the hole that fits best, so
# a value that has grown may lie better than before. Seen with some layers on the host only; with logits for each token
# in all of these, with llama-server's in gpt-oss-120b. model: (parallel, ubatch, cache type, devices, layers on them,
# shorter context).
FALLING = {
    "deepseek-v2-lite": (1, 1024, "f16", 3, 11, 8192),
    "granite4-small": (1, 512, "q8_0", 1, 10, 16384),
    "mixtral-8x7b": (1, 1024, "f16", 2, 5, 4096),
    "gpt-oss-120b": (4, 1024, "q8_0", 3, 6, 16384),
    "llama4-maverick": (1, 2048, "q8_0", 3, 26, 2048),
}

# Where the memory of an architecture grows with context and batch together: (context, ubatch, attention, devices).
# Those of deepseek-v3.2 are on both sides of the contexts at which another value is the largest.
LONG = {
    "deepseek-v3.2": (
        *((262144, 2048, "on", 1), (131072, 512, "on", 2), (32768, 2048, "off", 1), (262144, 512, "on", 1)),
        *((2048, 512, "on", 1), (8192, 2048, "on", 1), (24576, 1024, "on", 1), (28672, 2048, "on", 1)),
        *((40960, 1024, "on", 1), (98304, 2048, "on", 1)),
    )
}


class Deck:
    """Values in random order, all of them before any comes again."""

    def __init__(self, values, dice):
        self.values, self.dice, self.left = list(values), dice, []

    def draw(self):
        if not self.left:
            self.left = self.values[:]
            self.dice.shuffle(self.left)
        return self.left.pop()


def sample(model, count, seed="server table"):
    """`count` designed rows of a model, without the engine's answers."""
    dice = random.Random("%s %s" % (seed, model))
    contexts, devices, offloaded, parallel, ubatches, attention, unified = (
        Deck(values, dice) for values in (CONTEXTS, DEVICES, OFFLOADED, PARALLEL, UBATCHES, ATTENTION, UNIFIED)
    )
    splits = {number: Deck(values, dice) for number, values in SPLITS.items()}
    slots = of_model(model)["L"] + 1
    for unused in range(count):
        chosen = devices.draw()
        split = splits[len(chosen)].draw()
        flash, cache = attention.draw()
        share = offloaded.draw()
        yield {
            "model": model,
            "n_ctx": contexts.draw(),
            "n_parallel": parallel.draw(),
            "n_ubatch": ubatches.draw(),
            "flash_attn": flash,
            "cache_type": cache,
            "devices_mib": list(chosen),
            "tensor_split": list(split) if split else None,
            "n_gpu_layers": 999 if share == 1 else int(share * slots),
            "kv_unified": unified.draw(),
        }


def falling_sample(model):
    """The two rows of a model in FALLING."""
    parallel, ubatch, cache, count, layers, context = FALLING[model]
    for tokens in (context, 2 * context):
        yield {
            "model": model,
            "n_ctx": tokens,
            "n_parallel": parallel,
            "n_ubatch": ubatch,
            "flash_attn": "on",
            "cache_type": cache,
            "devices_mib": [SIZES[0]] * count,
            "tensor_split": [1] * count,
            "n_gpu_layers": layers,
            "kv_unified": False,
        }


def long_sample(model):
    """The rows of a model in LONG."""
    for context, ubatch, flash, count in LONG.get(model, ()):
        yield {
            "model": model,
            "n_ctx": context,
            "n_parallel": 1,
            "n_ubatch": ubatch,
            "flash_attn": flash,
            "cache_type": "f16",
            "devices_mib": [SIZES[0]] * count,
            "tensor_split": [1] * count,
            "n_gpu_layers": 999,
            "kv_unified": False,
        }


def write_model(name):
    """Sparse files of a model (one, or its parts), named after it, where the engine finds them."""
    for file_name, (pairs, tensors) in families.files_of(name).items():
        head, size = gguf.header(pairs, tensors)
        with open(str(sandbox.MODELS / (file_name + ".gguf")), "wb") as stream:
            stream.write(head)
            stream.truncate(len(head) + size)


def rows_of(name):
    """All rows of a model for llama-server, without its answers."""
    yield from sample(name, ROWS_PER_MODEL if name in MODELS else ROWS_PER_HELD_OUT)
    if name in FALLING:
        yield from falling_sample(name)
    yield from long_sample(name)


def server_row(devices, row):
    """A row with llama-server's answer; a model that embeds is started as Ollama starts it."""
    if any(key.endswith(".pooling_type") for key in families.pairs_of(row["model"])):
        row["embedding"] = True
    return answered(row, llama_server.dry_run(devices, row))


def older_row(devices, row):
    """A row with the answer of llama-fit-params, which knows no shared stream of the KV cache."""
    del row["kv_unified"]
    return answered(row, sandbox.dry_run(devices, row))


def answered(row, answer):
    """A row with an answer, or with the error that the engine gave instead."""
    return dict(row, error=answer) if isinstance(answer, str) else dict(row, **answer)


def head_of_tables():
    """The first line of the tables of memory by device that llama-server gives."""
    return dict(
        sandbox.version(),
        reference="build 11669",
        tool="llama-server, stopped after the table that it prints before it loads; "
        "devices are RPC servers of the sizes devices_mib",
        columns="mib: per device [weights, KV and recurrent state, compute]; layers: per device; "
        "n_ctx: of all slots together; tensor_split null: by free memory; n_outputs_max: as its log says",
        models="tests/oracle/engine/dimensions.py",
    )


def record_tables():
    """Write the tables of memory by device: by llama-server, and the smaller one by llama-fit-params."""
    sandbox.build()
    head = head_of_tables()
    older = dict(head, tool="llama-fit-params -fitp on; devices are RPC servers of the sizes devices_mib")
    estimated = [name for name in FURTHER if of_model(name)["arch"] in ESTIMATED_ONLY]
    known = list(MODELS) + list(HELD_OUT) + [name for name in FURTHER if name not in estimated]
    with sandbox.Devices(SIZES) as devices:
        for path, first, names, rows, ask in (
            (TABLE, head, known, rows_of, server_row),
            (ESTIMATED, head, estimated, rows_of, server_row),
            (OLDER, older, known, lambda name: sample(name, ROWS_PER_OLDER, "older table"), older_row),
        ):
            write_table(path, first, ((name, rows(name)) for name in names), lambda row, ask=ask: ask(devices, row))


def record_drafts():
    """Write the table of drafts, heads that predict further tokens, and adapters."""
    sandbox.build()
    with sandbox.Devices(SIZES) as devices:
        record_speculation.record(devices, head_of_tables(), write_model)


def write_table(path, head, asked, ask):
    """Ask about rows and write a table; `asked`: (model, its rows) of each model."""
    written = path.with_suffix(".new")
    with open(str(written), "w", encoding="utf-8") as stream:
        stream.write(json.dumps(head, separators=(",", ":")) + "\n")
        for name, rows in asked:
            write_model(name)
            found = [ask(row) for row in rows]
            failed = [row for row in found if "error" in row]
            for row in found:
                if "error" not in row:
                    stream.write(json.dumps(row, separators=(",", ":")) + "\n")
            stream.flush()
            print("%s: %d rows" % (name, len(found) - len(failed)), flush=True)
            for row in failed[:2]:
                print("  no answer: %s: %s" % (row["error"][-120:], row), flush=True)
    written.rename(path)


#: What is recorded, in this order.
RECORDERS = {
    "tables": record_tables,
    "speculation": record_drafts,
    "fits": fits.record,
    "offload": offload.record,
    "rig": rig_rows.record,
}


def main(names):
    unknown = sorted(set(names) - set(RECORDERS))
    if unknown:
        sys.exit("oracle: nothing is called %s; give some of %s" % (", ".join(unknown), ", ".join(RECORDERS)))
    for name in names or RECORDERS:
        RECORDERS[name]()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        sandbox.close()
