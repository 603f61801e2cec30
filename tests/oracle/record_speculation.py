# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask llama-server about drafts, heads that predict further tokens, and LoRA adapters: engine-speculation.jsonl.

A part of `python -m tests.oracle.record`.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import random

from tests.oracle.engine import speculative
from tests.oracle.engine.dimensions import of_model

HEAD = {
    "tool": "llama-server; devices are RPC servers of the sizes devices_mib",
    "columns": "mib: per device [weights, KV and recurrent state, compute]; "
    "draft_mib: the same of what proposes tokens (of the model's own heads, the weights are those of the model); "
    "adapter_mib: LoRA buffers of a real load",
}
TABLE = pathlib.Path(__file__).resolve().parent / "engine-speculation.jsonl"

# Models with heads of their own; models and drafts with a vocabulary like theirs; bases of adapters, small enough to
# be loaded for real.
HEADS = ("qwen3.5-27b-mtp", "qwen3.5-35b-a3b-mtp", "qwen3-next-80b-mtp", "glm4.5-air", "deepseek-r1-mtp")
DRAFTED = (
    ("llama3.1-8b", "llama3.2-1b"),
    ("llama3.3-70b", "llama3.1-8b"),
    ("qwen3-14b", "qwen3-0.6b"),
    ("qwen2.5-32b", "qwen2.5-0.5b"),
    ("gemma3-27b", "gemma3-1b"),
    ("qwen3.5-27b", "qwen3-0.6b"),
)
# Models with heads, and how many layers have their experts on the host: without those of the head, and with them.
ON_HOST = (
    ("qwen3.5-35b-a3b-mtp", (20, 41)),
    ("qwen3-next-80b-mtp", (24, 49)),
    ("glm4.5-air", (23, 47)),
    ("deepseek-r1-mtp", (30, 62)),
)
OUTSIDE_HEADS = (("qwen3.5-27b", "qwen3.5-27b-mtp"), ("qwen3.5-35b-a3b", "qwen3.5-35b-a3b-mtp"))
ADAPTED = ("llama3.2-1b", "qwen3-0.6b", "qwen2.5-0.5b", "gemma3-1b")
ATTENTION, FORWARD = ("attn_q.", "attn_k.", "attn_v.", "attn_output."), ("ffn_gate.", "ffn_up.", "ffn_down.")
ADAPTED_PARTS = (ATTENTION, ATTENTION + FORWARD, ("attn_q.", "attn_v."), FORWARD)
RANKS = (8, 16, 64, 128, 256)

DEVICES = (
    ((49140,), None),
    ((81559,), None),
    ((49140, 49140), (1, 1)),
    ((81559, 24564), (3, 1)),
    ((49140, 24564), None),
    ((49140, 49140, 24564), (1, 1, 1)),
    ((81559, 24564, 12288, 49140), (4, 3, 2, 1)),
)
BIG = (((81559, 49140), (1, 1)), ((81559, 49140, 49140), None), ((49140, 49140, 49140, 24564), (1, 1, 1, 1)))
CONTEXTS = (4096, 8192, 16384, 32768, 65536)
PARALLEL = (1, 1, 2, 4)
UBATCHES = (512, 1024, 2048)
ATTENTIONS = (("on", "f16"), ("on", "f16"), ("on", "q8_0"), ("on", "q4_0"), ("off", "f16"))
DRAFTED_TOKENS = (1, 3, 4, 8, 16)
UNIFIED = (False, False, True)
OFFLOADED = (1.0, 1.0, 1.0, 1.0, 0.6)


def _deck(values, dice):
    """The values in random order, again and again."""
    values = list(values)
    dice.shuffle(values)
    return itertools.cycle(values)


def _rows(model, count, devices=DEVICES, contexts=CONTEXTS, offloaded=OFFLOADED, **fixed):
    """`count` rows of a model, without answers; `fixed`: draft, speculation, adapters."""
    dice = random.Random("speculation %s %s" % (model, fixed))
    decks = [
        _deck(values, dice)
        for values in (devices, contexts, PARALLEL, UBATCHES, ATTENTIONS, DRAFTED_TOKENS, UNIFIED, offloaded)
    ]
    for unused in range(count):
        (sizes, split), context, parallel, ubatch, (flash, cache), drafted, unified, share = map(next, decks)
        row = {
            "model": model,
            "draft": None,
            "speculation": None,
            "adapters": [],
            "n_ctx": context,
            "n_parallel": parallel,
            "n_ubatch": ubatch,
            "flash_attn": flash,
            "cache_type": cache,
            "devices_mib": list(sizes),
            "tensor_split": list(split) if split else None,
            "n_gpu_layers": 999 if share == 1 else int(share * (of_model(model)["L"] + 1)),
            "kv_unified": unified,
        }
        row.update(fixed)
        row["drafted"] = drafted if row["speculation"] else 0
        yield row


def sample():
    """All rows, without the engine's answers."""
    for model in HEADS:
        devices = BIG if model.startswith(("glm", "deepseek", "qwen3-next")) else DEVICES
        yield from _rows(model, 8, devices, speculation="draft-mtp")
        yield from _rows(model, 1, devices)  # the same file without speculation
    for model, counts in ON_HOST:
        for layers in counts:
            yield from _rows(model, 2, BIG, offloaded=(1.0,), speculation="draft-mtp", cpu_experts=layers)
    for model, draft in DRAFTED:
        yield from _rows(model, 5, draft=draft, speculation="draft-simple")
    for model, draft in OUTSIDE_HEADS:
        yield from _rows(model, 4, draft=draft, speculation="draft-mtp")
    dice = random.Random("adapters")
    ranks, parts = _deck(RANKS, dice), _deck(ADAPTED_PARTS, dice)
    for model in ADAPTED:
        for row in _rows(model, 5, contexts=CONTEXTS[:3]):
            adapters = [{"model": model, "rank": next(ranks), "parts": next(parts)}]
            yield dict(row, adapters=adapters * (2 if row["n_parallel"] == 4 else 1))


def record(running, head, write_model, path=TABLE):
    """Ask the engine about all rows and write them.

    Args:
        running: the sandbox.Devices.
        head: what the first line of the table says of the engine.
        write_model: function that writes a model's file for the engine.
        path: of the table.
    """
    written = path.with_suffix(".new")
    failed = 0
    with open(str(written), "w", encoding="utf-8") as stream:
        stream.write(json.dumps(dict(head, **HEAD), separators=(",", ":")) + "\n")
        for row in sample():
            for name in filter(None, (row["model"], row["draft"])):
                write_model(name)
            for adapter in row["adapters"]:
                speculative.write_adapter(adapter)
            answer = speculative.ask(running, row)
            if isinstance(answer, str):
                failed += 1
                print("  no answer: %s: %s" % (answer.strip()[-160:], row), flush=True)
                continue
            stream.write(json.dumps(dict(row, **answer), separators=(",", ":")) + "\n")
            stream.flush()
    written.rename(path)
    print("speculation: %d rows without an answer" % failed, flush=True)
