# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""GPUs as the server finds them: from the output of lib/ollama/llama-server, with the environment of the service."""

from __future__ import annotations

import os
import re
import subprocess
import threading

from . import choosing, gotext, settings

_DEVICE = re.compile(r"\s*(CUDA)(\d+): (.+) \((\d+) MiB, (\d+) MiB free\)")
_CAPABILITY = re.compile(r"\s*Device (\d+): .*compute capability (\d+)\.(\d+)")
_WAIT = 30.0  # seconds for one run of the engine


def library_dir():
    """lib/ollama beside bin/ollama, found from the path of this program."""
    here = os.path.realpath(os.environ.get("RIG_OLLAMA_PROGRAM") or os.path.abspath(_program()))
    return os.path.join(os.path.dirname(os.path.dirname(here)), "lib", "ollama")


def _program():
    # Inside an archive __file__ is <program>/double/discovery.py.
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def cuda_dir():
    """The newest CUDA directory that OLLAMA_LLM_LIBRARY allows, or None: without one, there are no CUDA devices."""
    wanted, root = settings.var("OLLAMA_LLM_LIBRARY"), library_dir()
    found = sorted(name for name in (os.listdir(root) if os.path.isdir(root) else []) if name.startswith("cuda_v"))
    allowed = [
        name for name in found if os.path.exists(os.path.join(root, name, "libggml-cuda.so")) and wanted in ("", name)
    ]
    return allowed[-1] if allowed else None


def library_path():
    """LD_LIBRARY_PATH of the engine."""
    return ":".join([library_dir()] + ([os.path.join(library_dir(), cuda_dir())] if cuda_dir() else []))


def filter_ids(visible, count):
    """The values that make each of `count` devices visible: the user's own ones if CUDA_VISIBLE_DEVICES is set, else
    indices.
    """
    if visible is None:
        return [str(index) for index in range(count)]
    return [token.strip() for token in visible.split(",")][:count]


def _run(arguments, stream):
    environment = dict(os.environ, LD_LIBRARY_PATH=library_path(), GGML_CUDA_INIT="1")
    return subprocess.Popen(
        [os.path.join(library_dir(), "llama-server")] + arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stream if "--list-devices" in arguments else subprocess.DEVNULL,
        stderr=stream if "--list-devices" not in arguments else subprocess.DEVNULL,
        text=True,
        errors="replace",
    )


def _capabilities():
    """{index: (major, minor)} from a run without a model, which runs until it is killed."""
    process = _run([], subprocess.PIPE)
    timer = threading.Timer(_WAIT, process.kill)
    timer.start()
    found = {}
    for line in process.stderr:
        match = _CAPABILITY.match(line)
        if match:
            found[int(match.group(1))] = (int(match.group(2)), int(match.group(3)))
        if "system_info" in line or "no CUDA-capable device" in line:
            break
    timer.cancel()
    process.kill()
    process.wait()
    return found


def devices():
    """The devices that the engine lists at the moment: [(name, total bytes, free bytes)]."""
    if not cuda_dir():
        return []
    process = _run(["--list-devices"], subprocess.PIPE)
    try:
        text, _none = process.communicate(timeout=_WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return []
    return [
        (match.group(3), int(match.group(4)) << 20, int(match.group(5)) << 20)
        for match in map(_DEVICE.match, text.splitlines())
        if match
    ]


def discover():
    """The GPUs at start as choosing.Gpu, in the order of discovery, with their names.

    Writes the lines about them to the journal.
    """
    gotext.log("INFO", "runner.go:60", "discovering available GPUs...")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        gotext.log("WARN", "runner.go:722", "user overrode visible devices", CUDA_VISIBLE_DEVICES=visible)
        gotext.log("WARN", "runner.go:726", "if GPUs are not correctly discovered, unset and try again")
    try:
        listed = devices()
        capabilities = _capabilities() if listed else {}
    except OSError as error:
        gotext.log("WARN", "runner.go:120", "failure during GPU discovery", error=str(error))
        listed, capabilities = [], {}
    tokens = filter_ids(visible, len(listed))
    gpus = [
        choosing.Gpu(index, token, total, free, compute=capabilities.get(index, (0, 0)))
        for index, (token, (_name, total, free)) in enumerate(zip(tokens, listed))
    ]
    names = [name for name, _total, _free in listed]
    for gpu in sorted(gpus, key=lambda gpu: -gpu.free):
        gotext.log(
            "INFO",
            "types.go:32",
            "inference compute",
            id=str(gpu.index),
            filter_id=gpu.filter_id,
            library=gpu.library,
            compute="%d.%d" % gpu.compute,
            name="CUDA%d" % gpu.index,
            description=names[gpu.index],
            libdirs="ollama,%s" % cuda_dir(),
            driver="0.0",
            pci_id="",
            type="discrete",
            total=gotext.human_bytes2(gpu.total),
            available=gotext.human_bytes2(gpu.free),
        )
    if not gpus:
        memory = host_memory()
        gotext.log(
            "INFO",
            "types.go:50",
            "inference compute",
            id="cpu",
            library="cpu",
            compute="",
            name="cpu",
            description="cpu",
            libdirs="ollama",
            driver="",
            pci_id="",
            type="",
            total=gotext.human_bytes2(memory["MemTotal"]),
            available=gotext.human_bytes2(memory["MemAvailable"]),
        )
    return gpus, names


def host_memory():
    """/proc/meminfo in bytes."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in stream}
