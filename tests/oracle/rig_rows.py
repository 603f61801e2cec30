# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask llama-server about loads of the rig's models that engine-rows.json lacks: further-rows.json, with experts on the
host, and speculation-rows.json, with tokens that a draft model or the model's own heads propose.

A part of `python -m tests.oracle.record`. The engine stand-in answers from these rows, so they are the proof's other
side: no formula of the product is in them. With experts on the host the devices answer as CUDA's do when the scheduler
asks who computes with weights on the host (engine/offload.c).
"""

from __future__ import annotations

import itertools
import json
import pathlib

from tests.oracle import offload
from tests.oracle.engine import families, llama_server, sandbox, speculative
from tests.rig.models import catalog, gguf

ROWS = pathlib.Path(__file__).resolve().parents[1] / "rig" / "engine" / "further-rows.json"
SPECULATION_ROWS = ROWS.with_name("speculation-rows.json")
DEVICE_MIB = 400000
FILE = "rig-%s"
#: Models with experts -> numbers of layers whose experts stay on the host.
EXPERTS = {"gpt-oss:20b": (24, 12), "llama4:16x17b": (48, 24)}
SPLITS = ((1,), (1, 1))
CONTEXTS = (8192, 16384, 32768)
UBATCHES = (512, 1024, 2048)
CACHE_TYPES = ("f16", "q8_0")
#: (model, its draft model; None: its own heads propose)
PROPOSED = (("small", "heads"), ("heads", None))
PARALLEL, DRAFTED = (1, 2), (2, 4)


def sample():
    """All rows, without the engine's answers; in the terms of engine-rows.json, and `n_cpu_moe`."""
    for name, counts in EXPERTS.items():
        for count, split, context, ubatch, cache in itertools.product(counts, SPLITS, CONTEXTS, UBATCHES, CACHE_TYPES):
            yield {
                "model": catalog.MODELS[name]["engine_rows"],
                "n_ctx": context,
                "cache_type": cache,
                "flash_attn": "on",
                "n_ubatch": ubatch,
                "n_batch": ubatch,
                "n_parallel": 1,
                "tensor_split": list(split),
                "n_cpu_moe": count,
            }


def speculation_sample():
    """All rows with proposed tokens, without the engine's answers; `drafted`: the most that are proposed at once."""
    settings = itertools.product(PROPOSED, SPLITS, UBATCHES, CACHE_TYPES, PARALLEL, DRAFTED)
    for (model, draft), split, ubatch, cache, parallel, drafted in settings:
        yield {
            "model": model,
            "draft": draft,
            "speculation": "draft-mtp",
            "drafted": drafted,
            "n_ctx": CONTEXTS[0] * parallel,
            "cache_type": cache,
            "flash_attn": "on",
            "n_ubatch": ubatch,
            "n_batch": ubatch,
            "n_parallel": parallel,
            "tensor_split": list(split),
        }


def write_model(name):
    """The sparse file of a model of the rig, where the engine finds it: its text part, and no vocabulary of a large
    model, which takes the engine seconds to read and no memory of a device."""
    row_name = catalog.MODELS[name]["engine_rows"]
    tensors = [one for one in catalog.tensors_of(name) if not one[0].startswith(("v.", "mm."))]
    pairs = families.pairs_of(row_name) if catalog.MODELS[name]["sparse"] else catalog.pairs_of(name)
    head, size = gguf.header(pairs, tensors)
    with open(str(sandbox.MODELS / (FILE % row_name + ".gguf")), "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)


def ask(devices, row):
    """A row with the engine's answer `mib`. Raises SystemExit where it gives none."""
    asked = dict(row, model=FILE % row["model"], n_gpu_layers=999, devices_mib=[DEVICE_MIB] * len(row["tensor_split"]))
    arguments = sandbox.arguments(devices, asked) + ["--no-repack", "-ncmoe", str(row["n_cpu_moe"])]
    text, code = llama_server.output(
        arguments, (llama_server.LAST_ROW, llama_server.LOADS), environment=("LD_PRELOAD=/work/offload.so",)
    )
    mib = llama_server.table(text)
    if len(mib) != len(row["tensor_split"]) + 1:
        raise SystemExit("oracle: no answer (exit %s) for %s: %s" % (code, row, text[-300:]))
    return dict(row, mib=mib)


def ask_speculating(devices, row):
    """A row with the engine's answers `mib` and `draft_mib`. Raises SystemExit where it gives none."""
    asked = dict(
        row,
        model=FILE % row["model"],
        draft=row["draft"] and FILE % row["draft"],
        n_gpu_layers=999,
        devices_mib=[DEVICE_MIB] * len(row["tensor_split"]),
        adapters=[],
        kv_unified=False,
    )
    answer = speculative.ask(devices, asked)
    if isinstance(answer, str):
        raise SystemExit("oracle: no answer for %s: %s" % (row, answer))
    return dict(row, mib=answer["mib"], draft_mib=answer["draft_mib"])


def record():
    """Write the rows anew."""
    sandbox.build()
    offload.build_rule()
    head = dict(
        sandbox.version(),
        tool="llama-server --no-repack -ngl 999, stopped after its table; devices are RPC servers of %d MiB that take "
        "operations of the host's weights as CUDA does" % DEVICE_MIB,
        columns="as of engine-rows.json; n_cpu_moe: layers whose experts are on the host",
    )
    for name in EXPERTS:
        write_model(name)
    with sandbox.Devices([DEVICE_MIB] * max(map(len, SPLITS))) as devices:
        rows = [ask(devices, row) for row in sample()]
    _write(ROWS, head, rows)
    record_speculation()


def record_speculation():
    """Write the rows with proposed tokens anew."""
    sandbox.build()
    head = dict(
        sandbox.version(),
        tool="llama-server -ngl 999, stopped after its tables; devices are RPC servers of %d MiB" % DEVICE_MIB,
        columns="as of engine-rows.json; draft_mib: the second table, of what proposes tokens (of the model's own "
        "heads, the weights are those of the model)",
    )
    for name in sorted({name for pair in PROPOSED for name in pair if name}):
        write_model(catalog.full_name(name))
    with sandbox.Devices([DEVICE_MIB] * max(map(len, SPLITS))) as devices:
        rows = [ask_speculating(devices, row) for row in speculation_sample()]
    _write(SPECULATION_ROWS, head, rows)


def _write(path, head, rows):
    """Write a file of rows, one a line."""
    lines = [json.dumps(row, separators=(",", ":")) for row in rows]
    first = json.dumps(head, separators=(",", ":"))[:-1] + ',"rows":['
    path.write_text("\n".join([first, ",\n".join(lines), "]}"]) + "\n", encoding="utf-8")
    print("rows of the rig: %d in %s" % (len(rows), path.name), flush=True)
