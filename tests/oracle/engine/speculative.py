# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama-server with a draft, a head that predicts further tokens, or LoRA adapters: their files, and what it takes.

A draft and a head are in the server's dry run, as a second table; no weight is loaded. Adapters are not: the server
loads the model for that, until it listens, and says how large each buffer is.
"""

from __future__ import annotations

import re
import subprocess
import threading

from tests.oracle.engine import families, llama_server, sandbox
from tests.oracle.engine.dimensions import of_model
from tests.rig.models import gguf

TABLE = "memory breakdown [MiB]"
LOADING = "no_alloc              = 0"  # the dry run is over
READY = "all slots are idle"
BUFFER = re.compile(r"(?P<place>RPC\d+\[[\d.:]+\]|CPU\w*) +(?P<what>compute|LoRA) buffer size = +(?P<mib>[\d.]+) MiB")
SECONDS = 240  # the longest load; the devices are the processor's memory


def adapter_tensors(model, rank, parts):
    """[(name, type, shape)] of a LoRA adapter of this rank for the matrices of a model whose names hold one of `parts`.

    A matrix [in, out] gets A [in, rank] and B [rank, out], experts' matrices one of each per expert; that of the token
    embedding [in, vocabulary] is looked up, so its A is [rank, vocabulary] turned round (src/llama-adapter.cpp).
    """
    tensors = []
    for name, unused, shape in families.tensors_of(model):
        if len(shape) < 2 or not any(part in name for part in parts):
            continue
        tensors.append((name + ".lora_a", "F16", (shape[0], rank) + tuple(shape[2:])))
        tensors.append((name + ".lora_b", "F16", (rank, shape[1]) + tuple(shape[2:])))
    return tensors


def adapter_file(adapter):
    """(key-values, tensors) of an adapter {"model", "rank", "parts"}."""
    pairs = {
        "general.architecture": of_model(adapter["model"])["arch"],
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 16.0,
    }
    return pairs, adapter_tensors(adapter["model"], adapter["rank"], adapter["parts"])


def adapter_name(adapter):
    """The name of its file, without suffix."""
    return "lora-%s-%d-%s" % (adapter["model"], adapter["rank"], "-".join(adapter["parts"]).replace(".", ""))


def write_adapter(adapter):
    """The sparse file of an adapter, where the engine finds it."""
    head, size = gguf.header(*adapter_file(adapter))
    with open(str(sandbox.MODELS / (adapter_name(adapter) + ".gguf")), "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)


def arguments(row):
    """What the engine is told of speculation and adapters, as Ollama does (llm/llama_server.go)."""
    told = []
    if row["speculation"]:
        told += ["--spec-type", row["speculation"], "--spec-draft-n-max", str(row["drafted"])]
    if row["draft"]:
        told += ["--spec-draft-model", "/work/%s.gguf" % row["draft"]]
    for adapter in row["adapters"]:
        told += ["--lora", "/work/%s.gguf" % adapter_name(adapter)]
    if row.get("cpu_experts"):
        told += ["--n-cpu-moe", str(row["cpu_experts"])]
    return told


def ask(devices, row):
    """{"mib", "layers"} and, with a draft, {"draft_mib", "draft_layers"} or {"adapter_mib"}; the error as text."""
    command = ["nice", "-n", "10", "chroot", str(sandbox.ROOT), "env"]
    command += ["LLAMA_ARG_KV_UNIFIED=%d" % row["kv_unified"], "llama-server"]
    command += ["--host", "127.0.0.1", "--port", "0", "-lv", "5"]
    command += sandbox.arguments(devices, row) + arguments(row)
    until = READY if row["adapters"] else LOADING
    text = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        latest = threading.Timer(SECONDS, running.kill)  # a server that hangs prints nothing
        latest.start()
        for line in running.stdout:
            text.append(line)
            if until in line:
                break
        latest.cancel()
        running.kill()
    return _loaded(devices, row, "".join(text)) if row["adapters"] else _tables("".join(text), row)


def _layers(text, names):
    """{device: layers} of a load."""
    found = dict(sandbox.LAYER.findall(text))  # layer -> device; the last word counts
    return {name: sum(1 for device in found.values() if device == name) for name in names if name != "Host"}


def _error(text):
    """The line that says why there is no answer."""
    said = [line for line in text.splitlines() if re.search(r"error|failed|assert", line, re.IGNORECASE)]
    return (said or ["no answer"])[0]


def _tables(text, row):
    """The tables of the dry run: of the model and, where it speculates, of its draft."""
    parts = text.split(TABLE)
    tables = [llama_server.table(part) for part in parts[1:]]
    if len(tables) != (2 if row["speculation"] else 1):
        return _error(text)
    answer = {"mib": tables[0], "layers": _layers(parts[0], tables[0])}
    if row["speculation"]:
        answer.update({"draft_mib": tables[1], "draft_layers": _layers(parts[1], tables[1])})
    return answer


def _loaded(devices, row, text):
    """The dry run's table, the adapters' buffers, and what the graph grows by when they are set.

    Weights and cache are the dry run's, to the MiB. Its compute buffers count too: those of the real load lack a copy
    of one input on devices that are not the first. So what the adapters add is the difference of two real reserves.
    """
    dry, _unused, loaded = text.partition(LOADING)
    answer = _tables(dry, row)
    if READY not in loaded or isinstance(answer, str):
        return _error(text)
    places = devices.servers(row["devices_mib"]).split(",")
    lora, reserved = {}, {}
    for found in BUFFER.finditer(loaded):
        address = found["place"].partition("[")[2].rstrip("]")
        if address and found["what"] in ("LoRA", "compute"):
            sizes = lora if found["what"] == "LoRA" else reserved
            sizes.setdefault("RPC%d" % places.index(address), []).append(float(found["mib"]))
    names = [name for name in answer["mib"] if name != "Host"]
    for name in names:
        grown = reserved.get(name, [0.0])
        answer["mib"][name][2] = round(answer["mib"][name][2] + grown[-1] - grown[0], 2)
    return dict(answer, adapter_mib={name: round(sum(lora.get(name, [])), 2) for name in names})
