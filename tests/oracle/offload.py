# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask llama-server what a device needs to compute for weights on the host: engine-offload.jsonl.

CUDA takes large batches of operations whose weights are on the host (`offload_op`), on copies of them that its compute
buffer must hold. The RPC devices of the oracle do not, so the engine is asked twice: as it is, and with
engine/offload.c before it, which answers for its devices as ggml-cuda does; everything else is the engine's own.
Witness: Vulkan has an `offload_op` of its own; where a model's matrices are small enough for a software Vulkan device
(128 MiB), the same question is put to one, without any help of ours.

record.py records it; the engine and its models are those of record.py, Vulkan gets a root of its own beside it. The
first line says what was asked and of which build. The sample is the same each time; it was drawn anew when llama-server
became the referee.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
import subprocess

from tests.oracle.engine import families, llama_server, sandbox
from tests.oracle.engine.dimensions import of_model
from tests.rig.models import gguf

TABLE = pathlib.Path(__file__).resolve().parent / "engine-offload.jsonl"
MIB = 1024 * 1024
ROWS_PER_MODEL = 8
MODELS = (
    "llama3.1-8b",
    "llama3.1-8b-f16",
    "llama3.3-70b",
    "mistral-7b",
    "mixtral-8x7b",
    "llama4-scout",
    "qwen2.5-32b",
    "qwen1.5-moe",
    "qwen3-14b",
    "qwen3-30b-a3b",
    "qwen3-235b-a22b",
    "qwen3-next-80b",
    "qwen3.5-27b",
    "gemma2-9b",
    "gemma3-27b",
    "gemma3n-e4b",
    "gemma4-26b-a4b",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "phi4-14b",
    "deepseek-v2-lite",
    "deepseek-r1",
    "command-r7b",
    "glm4.5-air",
    "granite3.1-moe-3b",
    "granite4-h-1b",
    "nemotron-nano-9b-v2",
    "falcon-h1-7b",
    "jamba-mini",
    "lfm2-1.2b",
)
# Models without a matrix above 128 MiB; batches so small that no other value is larger either.
WITNESSES = ("mistral-7b", "granite3.1-moe-3b", "olmoe-7b", "phi3-mini")
SMALL_BATCHES = (64, 128, 256)
ROWS_PER_WITNESS = 10
DEVICES = ((49140,), (49140,), (49140, 49140))
VULKAN = sandbox.CACHE / "vulkan"
VULKAN_PACKAGES = "llama.cpp-tools,llama.cpp-tools-extra,libggml0-backend-vulkan,mesa-vulkan-drivers"
# The processor as the device; one buffer as large as is asked for; nodes in their order, as CUDA leaves them.
VULKAN_SETTINGS = (
    "VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json",
    "GGML_VK_DISABLE_GRAPH_OPTIMIZE=1",
    "GGML_VK_SUBALLOCATION_BLOCK_SIZE=17179869184",
    "GGML_VK_FORCE_MAX_ALLOCATION_SIZE=17179869184",
    "GGML_VK_FORCE_MAX_BUFFER_SIZE=17179869184",
)


def sample(model, count, batches=(512, 1024, 2048), contexts=(4096, 16384, 65536)):
    """`count` rows of a model, without the engine's answers.

    Half of those of a model with experts have all layers on the devices and experts on the host.
    """
    dice = random.Random("server offload %s %d" % (model, max(batches)))
    dimensions = of_model(model)
    slots = dimensions["L"] + 1
    for number in range(count):
        devices = dice.choice(DEVICES)
        flash, cache = dice.choice((("on", "f16"), ("on", "f16"), ("on", "q8_0"), ("off", "f16")))
        experts = number % 2 == 0 and bool(dimensions.get("X"))
        yield {
            "model": model,
            "n_ctx": dice.choice(contexts),
            "n_ubatch": dice.choice(batches),
            "flash_attn": flash,
            "cache_type": cache,
            "devices_mib": list(devices),
            "tensor_split": [1] * len(devices),
            "n_gpu_layers": 999 if experts else int(dice.choice((0, 0.3, 0.6, 1)) * (slots - 1)),
            "n_cpu_moe": dice.choice((dimensions["L"], dimensions["L"] // 2)) if experts else 0,
        }


def ask(root, row, devices, settings):
    """Compute buffer of every device in MiB, or the engine's error as text."""
    arguments = [
        "-m",
        "/work/offload/%s.gguf" % row["model"],
        "-c",
        str(row["n_ctx"]),
        "-np",
        "1",
        "-ngl",
        str(row["n_gpu_layers"]),
        "-fa",
        row["flash_attn"],
        "-ctk",
        row["cache_type"],
        "-ctv",
        row["cache_type"],
        "-ub",
        str(row["n_ubatch"]),
        "-b",
        str(row["n_ubatch"]),
        "-ts",
        ",".join(map(str, row["tensor_split"])),
        "--no-repack",
    ] + devices  # beside CUDA the host's weights are not repacked
    arguments += ["-ncmoe", str(row["n_cpu_moe"])] if row["n_cpu_moe"] else []
    text, code = llama_server.output(arguments, (llama_server.LAST_ROW, llama_server.LOADS), root, settings)
    found = [parts[2] for name, parts in llama_server.table(text).items() if name != "Host"]
    return found if len(found) == len(row["devices_mib"]) else text[-200:] or "exit %d" % code


def answered(row, devices, witnessed):
    """A row with the engine's answers: `without` and `offloaded`, and the witness's."""
    row["n_outputs_max"] = 1  # of the one slot
    reach = ["--rpc", devices.servers(row["devices_mib"])]
    row["without"] = ask(sandbox.ROOT, row, reach, ())
    row["offloaded"] = ask(sandbox.ROOT, row, reach, ("LD_PRELOAD=/work/offload.so",))
    if witnessed:
        row["vulkan"] = ask(
            VULKAN,
            row,
            [],
            VULKAN_SETTINGS + ("GGML_VK_VISIBLE_DEVICES=" + ",".join("0" for unused in row["devices_mib"]),),
        )
    return row


def build_rule():
    """The answer to `offload_op`, where the engine finds it."""
    subprocess.run(
        ["cc", "-O", "-shared", "-fPIC", "-o", str(sandbox.MODELS / "offload.so"), str(sandbox.HERE / "offload.c")],
        check=True,
    )


def build():
    """The engine's root and Vulkan's, and the answer to `offload_op` for the first."""
    sandbox.build()
    build_rule()
    sandbox.build_root(VULKAN, VULKAN_PACKAGES)


def write_model(name):
    """A sparse file of a model where both engines find it."""
    head, size = gguf.header(families.pairs_of(name), families.tensors_of(name))
    for root in (sandbox.ROOT, VULKAN) if name in WITNESSES else (sandbox.ROOT,):
        folder = root / "work" / "offload"
        folder.mkdir(parents=True, exist_ok=True)
        with open(str(folder / (name + ".gguf")), "wb") as stream:
            stream.write(head)
            stream.truncate(len(head) + size)


def record():
    """Write the table anew."""
    build()
    head = dict(
        sandbox.version(),
        reference="build 11669",
        tool="llama-server --no-repack over RPC devices of the sizes devices_mib, stopped after its table; "
        "vulkan: over as many software Vulkan devices",
        columns="compute buffer of every device, MiB: without the operations of the host's weights, "
        "with them (offloaded), the same by Vulkan",
    )
    lines = [json.dumps(head, separators=(",", ":"))]
    for name in sorted(set(MODELS + WITNESSES)):
        write_model(name)
        asked = [(row, False) for row in sample(name, ROWS_PER_MODEL if name in MODELS else 0)]
        asked += [
            (row, True)
            for row in sample(name, ROWS_PER_WITNESS if name in WITNESSES else 0, SMALL_BATCHES, (2048, 4096))
        ]
        with sandbox.Devices((49140, 49140)) as devices:
            for row, witnessed in asked:
                row = answered(row, devices, witnessed)
                failed = [key for key in ("without", "offloaded", "vulkan") if isinstance(row.get(key), str)]
                if failed:
                    print("no answer: %s" % row, flush=True)
                else:
                    lines.append(json.dumps(row, separators=(",", ":")))
        print("host's weights of " + name, flush=True)
    subprocess.run(["umount", str(VULKAN / "proc")], check=False)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows(path=TABLE):
    """The rows of the table."""
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()[1:]]


def predicted(row):
    """(compute buffers without the scratch memory, with it) of every device, MiB, as memory/compute.py has them."""
    from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import compute, weights

    from tests.oracle import table

    model = table.facts(row["model"])
    moved = {
        slot: (layer.expert_bytes, None)
        for slot, layer in enumerate(model.layers[: row["n_cpu_moe"]])
        if layer.expert_bytes
    }
    total = model.block_count + 1
    slots = weights.assign_layers(
        row["tensor_split"], total, None if row["n_gpu_layers"] >= total else row["n_gpu_layers"]
    )
    load = table.load_of(dict(row, n_parallel=1), served="n_outputs_max" in row)
    loads = (load, dataclasses.replace(load, op_offload=True))
    count = len(row["devices_mib"])
    return [[size / MIB for size in compute.compute_by_device(model, slots, count, one, moved)] for one in loads]


def compare(row):
    """(expected, got) for the replayer: MiB per device without and with the host's operations.

    Ours count as the engine's within max(3 %, 32 MiB).
    """
    expected = {"without": row["without"], "offloaded": row["offloaded"]}
    got = {}
    for (key, engine), ours in zip(expected.items(), predicted(row)):
        near = all(abs(mine - theirs) <= max(0.03 * theirs, 32) for theirs, mine in zip(engine, ours))
        got[key] = engine if near else [round(size, 1) for size in ours]
    return expected, got
