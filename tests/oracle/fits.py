# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the engine what its fit chooses: write tests/oracle/engine-fits.jsonl anew.

`python -m tests.oracle.fits` takes some minutes, as root. The models, devices and the engine are those of record.py.
The first line says what was asked and of which build; every other line is one fit: whether it changed anything, layers
per device, and how many layers have weights elsewhere (`-ot` patterns). The sample is the same each time. None of
these rows was used to write the search; `python tests/oracle/replay.py tests/oracle/engine-fits.jsonl` compares them.
"""

from __future__ import annotations

import functools
import io
import json
import pathlib
import random
import re
import subprocess

from tests.oracle.engine import families, sandbox
from tests.rig.models import gguf

TABLE = pathlib.Path(__file__).resolve().parent / "engine-fits.jsonl"
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
ARGUMENTS = re.compile(r"^-c \d+ -ngl (-?\d+)(?: -ts (\S+))?(.*)$", re.MULTILINE)


def sample(model, count):
    """`count` rows of a model, without the engine's answers."""
    dice = random.Random("fits " + model)
    for unused in range(count):
        yield {
            "model": model,
            "devices_mib": dice.sample(SIZES, dice.choice((1, 1, 2, 2, 3, 4))),
            "n_ctx": dice.choice((4096, 16384, 65536)),
            "n_ubatch": dice.choice((512, 2048)),
            "cache_type": dice.choice(("f16", "q8_0")),
        }


def ask(devices, row):
    """The engine's answer to a row: {changed, layers, overflowing}, or its error as text."""
    command = [
        "nice",
        "-n",
        "15",
        "chroot",
        str(sandbox.ROOT),
        "llama-fit-params",
        "-m",
        "/work/%s.gguf" % row["model"],
        "-c",
        str(row["n_ctx"]),
        "-fa",
        "on",
        "-ctk",
        row["cache_type"],
        "-ctv",
        row["cache_type"],
        "-ub",
        str(row["n_ubatch"]),
        "-b",
        str(row["n_ubatch"]),
        "--rpc",
        devices.servers(row["devices_mib"]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = ARGUMENTS.search(done.stdout)
    if not found:
        return (done.stdout + done.stderr)[-200:] or "exit %d" % done.returncode
    layers, split, rest = int(found.group(1)), found.group(2), found.group(3)
    if layers == -1:
        return {"changed": False}
    counts = [int(float(count)) for count in split.split(",")] if split else [layers]
    return {
        "changed": True,
        "layers": (counts + [0] * len(row["devices_mib"]))[: len(row["devices_mib"])],
        "overflowing": rest.count("="),
    }


@functools.lru_cache(maxsize=None)
def facts(name):
    """The ModelFacts of a model, read from the header that the engine is given."""
    from ansible_collections.gpufleet.ollama.plugins.module_utils.model import hyperparameters
    from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import facts as reader
    from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import header

    head, size = gguf.header(families.pairs_of(name), families.tensors_of(name))
    found = reader.model_facts(header.read_header(io.BytesIO(head).read))
    return hyperparameters.complete(dict(found, file_bytes=len(head) + size, size_bytes=len(head) + size))


def compare(row):
    """(expected, got) of a row."""
    from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
    from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import llama_fit

    mib = 1024 * 1024
    fitted = llama_fit.fit(
        facts(row["model"]),
        [size * mib for size in row["devices_mib"]],
        Load(row["n_ctx"], ubatch=row["n_ubatch"], cache_type=row["cache_type"]),
    )
    if not row["changed"]:
        return {"changed": False}, {"changed": fitted.changed}
    expected = {"changed": True, "layers": row["layers"], "overrides": row["overflowing"] > 0}
    return expected, {"changed": fitted.changed, "layers": fitted.layers, "overrides": fitted.overflowing > 0}


def main():
    sandbox.build()
    head = dict(
        sandbox.version(),
        reference="build 11669",
        tool="llama-fit-params, flash attention on, margin 1024 MiB; devices are RPC servers, all free",
        columns="layers: per device; overflowing: number of -ot patterns",
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
                answer = ask(devices, row)
                if isinstance(answer, str):
                    print("%s: no answer: %s" % (name, answer), flush=True)
                else:
                    stream.write(json.dumps(dict(row, **answer), separators=(",", ":")) + "\n")
            stream.flush()
            print(name, flush=True)
    written.rename(TABLE)


if __name__ == "__main__":
    main()
