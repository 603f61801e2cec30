# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the engine: write tests/oracle/engine-table.jsonl and engine-speculation.jsonl anew.

`python -m tests.oracle.record` takes about ten minutes, as root. The first line says what was asked and of which
build; every other line is one dry run. The sample is drawn anew but the same each time: for every model the values of
each setting are drawn from a shuffled deck, so that each comes up about equally often. `python -m tests.oracle.record
MODEL ...` asks only for these models and prints the rows.
"""

from __future__ import annotations

import json
import pathlib
import random
import sys

from tests.oracle import record_speculation
from tests.oracle.engine import families, sandbox
from tests.oracle.engine.dimensions import FURTHER, HELD_OUT, MODELS, of_model
from tests.oracle.engine.further import ESTIMATED_ONLY
from tests.rig.models import gguf

TABLE = pathlib.Path(__file__).resolve().parent / "engine-table.jsonl"
ESTIMATED = TABLE.with_name("engine-estimated.jsonl")  # rows of models whose compute buffers the product estimates only
ROWS_PER_MODEL = 22
ROWS_PER_HELD_OUT = 10
ROWS_PER_SERVED = 6
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


# Models that llama-server itself is asked about, with the slots' cells in one stream (kv_unified) and not.
SERVED = (
    "llama3.1-8b",
    "qwen3-30b-a3b",
    "phi4-14b",
    "gemma2-9b",
    "gemma3-27b",
    "gemma3n-e4b",
    "gpt-oss-20b",
    "llama4-scout",
    "command-r7b",
    "deepseek-v2-lite",
    "deepseek-r1-old",
    "mamba-2.8b",
    "mamba-codestral-7b",
    "jamba-mini",
    "nemotron-nano-9b-v2",
    "falcon-h1-7b",
    "qwen3-next-80b",
    "lfm2-1.2b",
)
UNIFIED = (True, True, False)
SERVED_PARALLEL = (1, 2, 2, 4, 4)
SERVED_DEVICES = ((49140,), (49140,), (49140, 49140), (81559, 24564))

# A longer context takes less on a device here, for the engine as well: its allocator takes the hole that fits best, so
# a value that has grown may lie better than before. Seen with some layers on the host only. model: (parallel, ubatch,
# cache type, devices, layers on them, shorter context).
FALLING = {
    "deepseek-v2-lite": (1, 1024, "f16", 3, 11, 8192),
    "granite4-small": (1, 512, "q8_0", 1, 10, 16384),
    "mixtral-8x7b": (1, 1024, "f16", 2, 5, 4096),
    "gpt-oss-120b": (4, 1024, "q8_0", 3, 6, 16384),
    "llama4-maverick": (1, 2048, "q8_0", 3, 26, 2048),
}

# Where the memory of an architecture grows with context and batch together: (context, ubatch, attention, devices).
LONG = {
    "deepseek-v3.2": ((262144, 2048, "on", 1), (131072, 512, "on", 2), (32768, 2048, "off", 1), (262144, 512, "on", 1))
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


def sample(model, count):
    """`count` designed rows of a model, without the engine's answers."""
    dice = random.Random("oracle " + model)
    contexts, devices, offloaded, parallel, ubatches, attention = (
        Deck(values, dice) for values in (CONTEXTS, DEVICES, OFFLOADED, PARALLEL, UBATCHES, ATTENTION)
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
        }


def served_sample(model, count):
    """`count` rows of a model for llama-server: one or two devices, most with all layers on them."""
    dice = random.Random("server " + model)
    contexts, devices, offloaded, parallel, ubatches, attention, unified = (
        Deck(values, dice)
        for values in (CONTEXTS, SERVED_DEVICES, OFFLOADED, SERVED_PARALLEL, UBATCHES, ATTENTION, UNIFIED)
    )
    slots = of_model(model)["L"] + 1
    for unused in range(count):
        flash, cache = attention.draw()
        share = offloaded.draw()
        chosen = devices.draw()
        yield {
            "model": model,
            "n_ctx": contexts.draw(),
            "n_parallel": parallel.draw(),
            "n_ubatch": ubatches.draw(),
            "flash_attn": flash,
            "cache_type": cache,
            "devices_mib": list(chosen),
            "tensor_split": [1] * len(chosen),
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
        }


def write_model(name):
    """Sparse files of a model (one, or its parts), named after it, where the engine finds them."""
    for file_name, (pairs, tensors) in families.files_of(name).items():
        head, size = gguf.header(pairs, tensors)
        with open(str(sandbox.MODELS / (file_name + ".gguf")), "wb") as stream:
            stream.write(head)
            stream.truncate(len(head) + size)


def rows_of(name, devices):
    count = ROWS_PER_MODEL if name in MODELS else ROWS_PER_HELD_OUT
    write_model(name)
    asked = [(row, sandbox.dry_run) for row in sample(name, count)]
    if name in FALLING:
        asked += [(row, sandbox.dry_run) for row in falling_sample(name)]
    asked += [(row, sandbox.dry_run) for row in long_sample(name)]
    if name in SERVED:
        asked += [(row, sandbox.server_dry_run) for row in served_sample(name, ROWS_PER_SERVED)]
    for row, ask in asked:
        answer = ask(devices, row)
        if isinstance(answer, str):
            row["error"] = answer
        else:
            row["mib"], row["layers"] = answer
        yield row


def main(names):
    sandbox.build()
    head = dict(
        sandbox.version(),
        reference="build 11669",
        tool="llama-fit-params -fitp on (rows with kv_unified: llama-server); "
        "devices are RPC servers of the sizes devices_mib",
        columns="mib: per device [weights, KV and recurrent state, compute]; layers: per device; "
        "n_ctx: of all slots together; tensor_split null: by free memory",
        models="tests/oracle/engine/dimensions.py",
    )
    with sandbox.Devices(SIZES) as devices:
        if names:
            for name in names:
                for row in rows_of(name, devices):
                    print(json.dumps(row, separators=(",", ":")), flush=True)
            return
        estimated = [name for name in FURTHER if of_model(name)["arch"] in ESTIMATED_ONLY]
        write_table(
            TABLE, head, list(MODELS) + list(HELD_OUT) + [name for name in FURTHER if name not in estimated], devices
        )
        write_table(ESTIMATED, head, estimated, devices)
        record_speculation.record(devices, head, write_model)


def write_table(path, head, names, devices):
    """Ask about models and write their rows."""
    written = path.with_suffix(".new")
    with open(str(written), "w", encoding="utf-8") as stream:
        stream.write(json.dumps(head, separators=(",", ":")) + "\n")
        for name in names:
            rows = list(rows_of(name, devices))
            failed = [row for row in rows if "error" in row]
            for row in rows:
                if "error" not in row:
                    stream.write(json.dumps(row, separators=(",", ":")) + "\n")
            stream.flush()
            print(
                "%s: %d rows%s"
                % (
                    name,
                    len(rows) - len(failed),
                    "".join("\n  no answer: %s: %s" % (row["error"][-120:], row) for row in failed[:2]),
                ),
                flush=True,
            )
    written.rename(path)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        sandbox.close()
