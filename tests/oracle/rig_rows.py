# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask llama-server about loads of the rig's large models that engine-rows.json lacks: engine/further-rows.json.

A part of `python -m tests.oracle.record`. The engine stand-in answers from these rows, so they are the proof's other
side: no formula of the product is in them. With experts on the host the devices answer as CUDA's do when the scheduler
asks who computes with weights on the host (engine/offload.c).
"""

from __future__ import annotations

import itertools
import json
import pathlib

from tests.oracle import offload
from tests.oracle.engine import families, llama_server, sandbox
from tests.rig.models import catalog, gguf

ROWS = pathlib.Path(__file__).resolve().parents[1] / "rig" / "engine" / "further-rows.json"
DEVICE_MIB = 400000
FILE = "rig-%s"
#: Models with experts -> numbers of layers whose experts stay on the host.
EXPERTS = {"gpt-oss:20b": (24, 12), "llama4:16x17b": (48, 24)}
SPLITS = ((1,), (1, 1))
CONTEXTS = (8192, 16384, 32768)
UBATCHES = (512, 1024, 2048)
CACHE_TYPES = ("f16", "q8_0")


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


def write_model(name):
    """The sparse file of a model of the rig, where the engine finds it: its text part, and no vocabulary, which takes
    the engine seconds to read and no memory of a device."""
    row_name = catalog.MODELS[name]["engine_rows"]
    tensors = [one for one in catalog.tensors_of(name) if not one[0].startswith(("v.", "mm."))]
    head, size = gguf.header(families.pairs_of(row_name), tensors)
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
        rows = [json.dumps(ask(devices, row), separators=(",", ":")) for row in sample()]
    lines = [json.dumps(head, separators=(",", ":"))[:-1] + ',"rows":[', ",\n".join(rows), "]}"]
    ROWS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("rows of the rig: %d" % len(rows), flush=True)
