# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask llama-server what its fit chooses: engine-fits.jsonl, recorded by record.py.

The models and the engine are those of record.py. The first line says what was asked and of which build; every other
line is one fit: whether it changed anything, and per device layers, layers with weights elsewhere (`overflowing`) and
MiB used. The sample is the same each time. None of these rows was used to write the search;
`python tests/oracle/replay.py tests/oracle/engine-fits.jsonl` compares them.
"""

from __future__ import annotations

import json
import pathlib
import random

from tests.oracle.engine import families, llama_server, sandbox
from tests.rig.models import gguf

TABLE = pathlib.Path(__file__).resolve().parent / "engine-fits.jsonl"
MIB = 1024 * 1024
ROWS_PER_MODEL = 12
SIZES = (4096, 6144, 6144, 8192, 8192, 12288, 16384, 16384, 24564, 24564)  # MiB of the devices that are there
MODELS = (
    "llama3.1-8b",
    "llama3.3-70b",
    "mistral-small3.1",
    "mixtral-8x7b",
    "llama4-scout",
    "qwen2.5-32b",
    "qwen1.5-moe",
    "qwen3-14b",
    "qwen3-30b-a3b",
    "gemma2-9b",
    "gemma3-27b",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "phi4-14b",
    "deepseek-v2-lite",
    "command-r7b",
    "glm4-9b",
    "granite3.1-moe-3b",
    "seed-oss-36b",
    "hunyuan-a13b",
)


def sample(model, count):
    """`count` rows of a model, without the engine's answers."""
    dice = random.Random("server fits " + model)
    for unused in range(count):
        yield {
            "model": model,
            "devices_mib": dice.sample(SIZES, dice.choice((1, 1, 2, 2, 3, 4))),
            "n_ctx": dice.choice((4096, 16384, 65536)),
            "n_ubatch": dice.choice((512, 1024, 2048)),
            "cache_type": dice.choice(("f16", "q8_0")),
            "flash_attn": "on",
            "n_parallel": dice.choice((1, 1, 1, 2, 4)),
        }


def rows(path=TABLE):
    """The rows of the table."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def fitted(row):
    """llama_fit.fit for a row; rows of llama-server have `used_mib`."""
    from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import llama_fit

    from tests.oracle import table

    served = "used_mib" in row
    load = table.load_of(row if served else dict(row, flash_attn="on", n_parallel=1), served)
    return llama_fit.fit(table.facts(row["model"]), [size * MIB for size in row["devices_mib"]], load)


def compare(row):
    """(expected, got) of a row: whether the fit changed anything, layers, and MiB used of every device.

    MiB used count as the engine's within max(3 %, 128 MiB).
    """
    ours = fitted(row)
    expected, got = {"changed": row["changed"]}, {"changed": ours.changed}
    if "used_mib" in row:
        used = [size / MIB for size in ours.counted_bytes]
        near = all(abs(mine - theirs) <= max(0.03 * theirs, 128) for theirs, mine in zip(row["used_mib"], used))
        expected["used_mib"] = row["used_mib"]
        got["used_mib"] = row["used_mib"] if near else [round(size) for size in used]
    if row["changed"]:
        expected["layers"], got["layers"] = row["layers"], ours.layers
        moved = row["overflowing"] if isinstance(row["overflowing"], int) else sum(row["overflowing"])
        # Where the experts of every layer are on the host, llama-server says nothing of them.
        if moved or ours.overflowing < sum(ours.layers) - 1:
            expected["overrides"], got["overrides"] = moved > 0, ours.overflowing > 0
    return expected, got


def record():
    """Write the table anew."""
    sandbox.build()
    head = dict(
        sandbox.version(),
        reference="build 11669",
        tool="llama-server, flash attention on, margin 1024 MiB, stopped after its fit; devices are RPC servers, "
        "all free",
        columns="per device: layers, layers with weights elsewhere (overflowing), MiB used",
        models="tests/oracle/engine/dimensions.py",
    )
    written = TABLE.with_suffix(".new")
    with sandbox.Devices(SIZES) as devices, open(str(written), "w", encoding="utf-8") as stream:
        stream.write(json.dumps(head, separators=(",", ":")) + "\n")
        for name in MODELS:
            model, size = gguf.header(families.pairs_of(name), families.tensors_of(name))
            with open(str(sandbox.MODELS / (name + ".gguf")), "wb") as file:
                file.write(model)
                file.truncate(len(model) + size)
            for row in sample(name, ROWS_PER_MODEL):
                answer = llama_server.fit(devices, row)
                if isinstance(answer, str):
                    print("%s: no answer: %s" % (name, answer), flush=True)
                else:
                    stream.write(json.dumps(dict(row, **answer), separators=(",", ":")) + "\n")
            stream.flush()
            print("fits of " + name, flush=True)
    written.rename(TABLE)
