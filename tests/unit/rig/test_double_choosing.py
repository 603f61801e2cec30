# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares the double's choice of GPUs with every row of -placement.jsonl and every step of -residents.jsonl."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from tests.rig.ollama.double import choosing, discovery
from tests.unit.rig import double_content

MIB = choosing.MIB
COMPARED = (
    "status",
    "child_cuda_visible_devices",
    "single_gpu",
    "main_gpu",
    "c",
    "np",
    "b",
    "ub",
    "ngl",
    "flash_attn",
    "cache_type_k",
)
LEFT_OUT = {
    "load_mode": "depends on the recording host's memory",
    "starts": "how often the recorder's engine was started",
    "selected": "the log line of one-GPU choices",
    "error": "the engine's text: compared by the status",
    "ps": "the recorder's stand-in's sizes",
}
MODELS = json.loads((double_content.RECORDINGS / "placement-models.json").read_text())
BUFFERS, CONTEXT = (
    14 * MIB,
    300 * MIB,
)  # what the recorder's stand-in added to a model's bytes on each GPU: in its log, and beside it
# Three GPUs with the very same free memory: the real server's order of equal ones is not known.
TIES = {("3x3090", "qwen3-14b", 8192)}


def rows(name):
    """The rows of a recording."""
    return [json.loads(line) for line in (double_content.RECORDINGS / name).read_text().splitlines()]


PLACEMENT, RESIDENTS = rows("ollama-0.32.15-placement.jsonl"), rows("ollama-0.32.15-residents.jsonl")


def model(name):
    """A model of placement-models.json."""
    row = MODELS[name]
    return choosing.Model(row["file_bytes"], row["arch"], row["L"], row["E"], row["H"], row["KV"], row["ctx"])


def visible(row):
    """The GPUs that CUDA shows with the environment of the row, numbered as by the server."""
    tokens = row["environment"].get("CUDA_VISIBLE_DEVICES")
    cards = {key: gpu for index, gpu in enumerate(row["gpus"]) for key in (str(index), gpu["uuid"])}
    if tokens is None:
        shown = row["gpus"]
    else:
        words = tokens.split(",")
        known = [word in cards for word in words] + [False]
        shown = [cards[word] for word in words[: known.index(False)]]
    ids = discovery.filter_ids(tokens, len(shown))
    return [
        choosing.Gpu(
            index,
            token,
            gpu["total_mib"] * MIB,
            gpu["free_mib"] * MIB,
            compute=tuple(map(int, gpu["compute_capability"].split("."))),
        )
        for index, (token, gpu) in enumerate(zip(ids, shown))
    ]


def settings(environment, gpus):
    """The settings of the service with the environment of the row."""
    tier = choosing.default_context([gpu.total for gpu in gpus], int(environment.get("OLLAMA_GPU_OVERHEAD", 0)))
    flash = environment.get("OLLAMA_FLASH_ATTENTION")
    return choosing.Settings(
        default_context=int(environment.get("OLLAMA_CONTEXT_LENGTH", 0)) or tier,
        parallel=int(environment.get("OLLAMA_NUM_PARALLEL", 1)),
        spread="OLLAMA_SCHED_SPREAD" in environment,
        flash_attention=None if flash is None else flash == "1",
        kv_cache_type=environment.get("OLLAMA_KV_CACHE_TYPE", ""),
    )


def outcome(choice, row_settings, options, environment, gpus):
    """A choice in the format of a row's result."""
    dies = choice.main_gpu is not None and choice.main_gpu >= max(len(choice.gpus), 1) and bool(gpus)
    return {
        "status": 500 if dies else 200,
        "child_cuda_visible_devices": choice.filter_ids
        if choice.pins_devices
        else environment.get("CUDA_VISIBLE_DEVICES"),
        "single_gpu": choice.main_gpu is not None,
        "main_gpu": None if choice.main_gpu is None else str(choice.main_gpu),
        "c": choice.context,
        "np": choice.parallel,
        "b": str(choice.batch),
        "ub": str(choice.batch),
        "ngl": str(options["num_gpu"]) if options.get("num_gpu", -1) >= 0 else None,
        "flash_attn": choice.flash_attention,
        "cache_type_k": row_settings.kv_cache_type or None,
    }


def test_every_placement_row():
    """1,217 loads on a server without other models."""
    different = []
    for number, row in enumerate(PLACEMENT):
        assert set(row["result"]) <= set(COMPARED) | set(LEFT_OUT)
        gpus = visible(row)
        row_settings = settings(row["environment"], gpus)
        assert (
            choosing.default_context([gpu.total for gpu in gpus], int(row["environment"].get("OLLAMA_GPU_OVERHEAD", 0)))
            == row["default_context_by_vram"]
        )
        choice = choosing.choose(model(row["model"]), gpus, row_settings, row["options"])
        got = outcome(choice, row_settings, row["options"], row["environment"], gpus)
        if got != {name: row["result"][name] for name in COMPARED}:
            different.append((number, row["gpus_name"], row["model"], row["options"], got))
    assert different == []
    assert len(PLACEMENT) == 1217


def step_gpus(base, free_mib):
    """The GPUs with the free memory that the driver reports before a step."""
    return [dataclasses.replace(gpu, free=free * MIB) for gpu, free in zip(base, free_mib)]


def resident(name, result, gpus):
    """The server's entry for an engine that was just loaded.

    The engine of the recording gave each GPU an equal share of the file.
    """
    indices = tuple(gpu.index for gpu in gpus if gpu.filter_id in result["child_cuda_visible_devices"].split(","))
    share = math.ceil(MODELS[name]["file_bytes"] / len(indices) / MIB) * MIB + BUFFERS
    return choosing.Resident(
        indices, {index: share for index in indices}, {index: gpus[index].free for index in indices}
    )


def freed(gpus, gone):
    """Free memory after the engines have exited."""
    return [
        dataclasses.replace(
            gpu, free=gpu.free + sum(one.used[gpu.index] + CONTEXT for one in gone if gpu.index in one.gpus)
        )
        for gpu in gpus
    ]


def steps():
    """(row, step, residents before) of every step."""
    for row in RESIDENTS:
        base, running = visible(row), {}
        for step in row["steps"]:
            yield row, step, dict(running), step_gpus(base, step["free_mib_before"])
            left = {name: one for name, one in running.items() if name in step["resident_after"]}
            gone = [one for name, one in running.items() if name not in left]
            running = left
            if step["result"]["status"] == 200:
                running[step["model"]] = resident(
                    step["model"], step["result"], freed(step_gpus(base, step["free_mib_before"]), gone)
                )


def test_every_step_beside_residents():
    """66 loads beside other models: which models are evicted, and which GPUs are chosen.

    One tie of three equal GPUs is left out.
    """
    different, ties = [], 0
    for row, step, running, gpus in steps():
        environment, shape, options = row["environment"], model(step["model"]), step["options"]
        row_settings, limit = (
            settings(environment, gpus),
            int(environment.get("OLLAMA_MAX_LOADED_MODELS", 0)) or 3 * len(gpus),
        )
        stays = {name: one for name, one in running.items() if name in step["resident_after"]}

        def full(them):
            seen = choosing.accounted_free(
                freed(gpus, [one for name, one in running.items() if name not in them]), list(them.values())
            )
            choice = choosing.choose(shape, seen, row_settings, options)
            return choice, bool(them) and (len(them) >= limit or choosing.must_evict(choice, shape, options))

        if full(running)[1] != (stays != running) or full(stays)[1]:
            different.append((row["gpus_name"], step["model"], "evictions"))
        got = outcome(full(stays)[0], row_settings, options, environment, gpus)
        if got != {name: step["result"][name] for name in COMPARED}:
            if (row["gpus_name"], step["model"], options.get("num_ctx")) in TIES:
                ties += 1
            else:
                different.append((row["gpus_name"], step["model"], got))
    assert different == []
    assert (sum(len(row["steps"]) for row in RESIDENTS), ties) == (66, 1)


@pytest.mark.parametrize(
    "totals, overhead, context",
    [
        ([24564 * MIB], 0, 32768),
        ([24564 * MIB] * 2, 0, 262144),
        ([24564 * MIB] * 2, 99999999999, 262144),
        ([], 0, 4096),
        ([15360 * MIB], 0, 4096),
    ],
)
def test_default_context(totals, overhead, context):
    """Tiers by the total memory of all GPUs.

    An overhead above the total wraps round, as recorded (gpu-overhead-huge).
    """
    assert choosing.default_context(totals, overhead) == context


@pytest.mark.parametrize(
    "num_gpu, batch, free, evicts",
    [
        (-1, 512, 13, False),
        (-1, 1024, 13, True),
        (-1, 1024, 14, False),
        (-1, 2048, 14, True),
        (-1, 2048, 16, False),
        (5, 2048, 4, False),
        (33, 2048, 4, True),
    ],
)
def test_eviction(num_gpu, batch, free, evicts):
    """Evicts if the prediction and the surcharge of the batch exceed 80 % of the free memory.

    Never if part of the model is meant to stay on the CPU.
    """
    gpu = choosing.Gpu(0, "0", 24 * choosing.GIB, free * choosing.GIB)
    choice = choosing.Choice((gpu,), 0, 4096, 1, batch, 10 * choosing.GIB, "auto", True)
    assert choosing.must_evict(choice, model("llama3.1-8b"), {"num_gpu": num_gpu}) is evicts


def test_one_gpu_engine_on_a_higher_index_is_not_found():
    """14.21: the memory of an engine on the GPU with index 1 counts as free when the engines cover all GPUs."""
    gpus = [choosing.Gpu(0, "0", 100, 40), choosing.Gpu(1, "1", 100, 30)]
    on_first, on_second = choosing.Resident((0,), {0: 50}, {0: 95}), choosing.Resident((1,), {1: 60}, {1: 95})
    assert [gpu.free for gpu in choosing.accounted_free(gpus, [on_first, on_second])] == [45, 100]
    assert [gpu.free for gpu in choosing.accounted_free(gpus, [on_second])] == [40, 30]
