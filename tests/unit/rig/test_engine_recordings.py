# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares the log of the stand-in with that of the real engine: same lines, order and figures, with CUDA for Vulkan.

The recorded model `tiny` and that of the rig have the same dimensions, so buffers must agree within 0.3 MiB and the
columns of the table within 1 MiB.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest

from tests.rig.engine.build import build_engine
from tests.rig.gpus import state
from tests.rig.models import store
from tests.rig.waiting import PATIENCE

LOADING = json.loads(
    (pathlib.Path(__file__).parents[2] / "fixtures" / "recordings" / "ollama-0.32.15-loading.json").read_text()
)
ENTRIES = {entry["name"]: entry for entry in LOADING}
MIB = 1024 * 1024

#: Recorded lines that the stand-in leaves out, and why.
LEFT_OUT = [
    r"^time=",  # Ollama's own
    r"^load_backend: ",
    r"^ggml_vulkan",
    r"system_info: ",  # another machine and backend
    r"build 11669",
    r"  - CPU     : ",  # same line, other words
    r"^load: ",
    r"^print_info: .*(token|n_layer_all|n_embd_(inp|out)|f_\w+|freq_scale|rope|n_ctx_orig|causal|pooling|vocab type)",
    r"^print_info: (n_expert_groups|n_group_used)",
    r"logit bias",
    r"^resolve_fused_ops: .*DeepSeek",
    r"n_rot_[kv] =",
    r"splits = ",
    r"reserve took",
    r"took [\d.]+ seconds",
    r"^spec ",
    r"use `--cache-ram",
    r"for more info",
    r"context checkpoints",
    r"idle slots",
    r"chat template",
    r"preserve_reasoning",
    r"^You are|^<\||^Hi there|^Hello|^How|^'$",
    r"model params|file size|loaded meta data",  # the rig's header has a key more
    r"system_info|threads for HTTP",
]
ARGUMENTS_WITHOUT = ("--model", "--port", "--host")


def engine_lines(entry):
    """The engine's lines of an entry, as a CUDA engine would write them, without the lines of the list above."""
    lines = []
    for text in entry["server_log"]:
        for line in text.splitlines():
            if line.strip() and not any(re.search(pattern, line) for pattern in LEFT_OUT):
                lines.append(normal(line.replace("Vulkan", "CUDA").replace("(unknown id)", "(PCI)")))
    return lines


def normal(line):
    """Replace paths, addresses and free memory, which differ between runs. The width of a column follows the name."""
    line = re.sub(r"\S*(sha256-[0-9a-f]+|tiny\.gguf)'?", "MODEL", line)
    line = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", line)
    line = re.sub(r"\((0000:\w\w:00\.0)\)", "(PCI)", line)
    return re.sub(r" +", " ", line.replace("+-", "+ -")).rstrip()


def shape(line):
    """The line without its numbers, except numbers of layers and sizes in the text."""
    return re.sub(r"-?\d+(\.\d+)?", "N", line.replace("CUDA0", "CUDAa").replace("CUDA1", "CUDAb"))


def arguments_of(name):
    """The recorded arguments.

    If none were recorded, those of load-default with the service environment of the entry applied as Ollama does.
    """
    entry = ENTRIES[name]
    environment = entry["service_environment"]
    if entry.get("child_processes"):
        argv = entry["child_processes"][-1]["argv"][1:]
    else:
        argv = ENTRIES["load-default"]["child_processes"][-1]["argv"][1:]
        kind = environment["OLLAMA_KV_CACHE_TYPE"]
        argv = argv + ["--cache-type-k", kind, "--cache-type-v", kind]
        flash = {"1": "on", "0": "off"}.get(environment.get("OLLAMA_FLASH_ATTENTION"), "auto")
        argv[argv.index("--flash-attn") + 1] = flash
    for option in ARGUMENTS_WITHOUT:
        at = argv.index(option)
        argv = argv[:at] + argv[at + 2 :]
    child = (
        entry["child_processes"][-1]["environment"]
        if entry.get("child_processes")
        else {"GGML_VK_VISIBLE_DEVICES": "0"}
    )
    visible = {"0": "0", "0,0": "0,1", "-1": "-1"}[child["GGML_VK_VISIBLE_DEVICES"]]
    return argv, dict(
        {key: value for key, value in child.items() if key.startswith("LLAMA_ARG")}, CUDA_VISIBLE_DEVICES=visible
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    directory = tmp_path_factory.mktemp("engine")
    store.write_model("tiny", directory / "tiny.gguf")
    path = directory / "rig" / "state"
    state.main(["--state", str(path), "preset", "rtx-4090-x2"])
    with state.edit(str(path)) as content:
        for number in (0, 1):
            content.update(
                {
                    "gpu%d.memory.total" % number: str(24105 * MIB),
                    "gpu%d.memory.reserved" % number: str(200 * MIB),
                    "gpu%d.name" % number: "llvmpipe (LLVM 22.1.8, 256 bits)",
                }
            )
        content["engine.load_ms"] = "0"
    return build_engine(directory / "llama-server", sys.executable), directory / "tiny.gguf", path


def run(engine, argv, environment):
    """(the lines of the engine until it waits, its exit status or None)."""
    program, model, path = engine
    process = subprocess.Popen(
        [str(program), "--model", str(model), "--port", "0", "--host", "127.0.0.1"] + argv,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GPU_RIG_STATE": str(path), **environment},
    )
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    lines = []
    try:
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if "all slots are idle" in line:
                process.terminate()
        return lines, process.wait()
    finally:
        watchdog.cancel()
        process.stderr.close()


LOADS = [
    "load-default",
    "spread-load",
    "load-num-gpu-3-of-9",
    "load-num-gpu-0",
    "no-gpu",
    "tensor-split-3-1",
    "fit-target-512-2048",
]
REFUSED = ["kv-q8-parallel-4-fa-on", "kv-q8-fa-off"]


@pytest.mark.parametrize("name", LOADS + REFUSED)
def test_the_log_has_the_recorded_lines_in_their_order(engine, name):
    argv, environment = arguments_of(name)
    lines, status = run(engine, argv, environment)
    produced = [shape(normal(line)) for line in lines]
    at = 0
    for line in engine_lines(ENTRIES[name]):
        wanted = shape(line)
        assert wanted in produced[at:], "missing after %r: %r" % (produced[max(0, at - 1)], line)
        at = produced.index(wanted, at) + 1
    assert status == (1 if name in REFUSED else 0)


def tolerance_of(line):
    """The allowed difference between the numbers of a recorded line and the stand-in's, in MiB; None = not compared."""
    if "buffer size" in line:
        return 0.3
    if "memory_breakdown" in line:
        return 1.0
    return 1e-9 if "offload" in line or "kv_cache: size" in line else None


@pytest.mark.parametrize("name", LOADS)
def test_buffers_layers_and_the_dry_run_have_the_recorded_figures(engine, name):
    argv, environment = arguments_of(name)
    lines, _status = run(engine, argv, environment)
    produced = {shape(normal(line)): normal(line) for line in lines}
    checked = 0
    for line in engine_lines(ENTRIES[name]):
        tolerance = tolerance_of(line)
        if tolerance is None:
            continue
        other = produced[shape(line)]
        if (
            "memory_breakdown" in line and "CUDA" in line
        ):  # free memory differs: compare "(self = model + context + compute)"
            line, other = (re.search(r"\(( *\d+ = .*?)\)", text).group(1) for text in (line, other))
        recorded, mine = ([float(number) for number in re.findall(r"\d+\.?\d*", text)] for text in (line, other))
        assert recorded == pytest.approx(mine, abs=tolerance), (line, other)
        checked += 1
    assert checked >= 8


def test_an_unknown_cache_type_has_the_recorded_words(engine):
    argv, environment = arguments_of("kv-type-unknown")
    lines, status = run(engine, argv, environment)
    recorded = [
        line
        for text in ENTRIES["kv-type-unknown"]["server_log"]
        if not text.startswith("time=")
        for line in text.splitlines()
    ]
    assert [line for line in lines if line.strip()] == [line for line in recorded if line.strip()]
    assert status == 1
