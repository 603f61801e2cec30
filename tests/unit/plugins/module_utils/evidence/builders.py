# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan and the observations of a host where everything is as planned; tests change one thing each."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import (
    Answer,
    EngineLog,
    EngineProcess,
    LoggedDevice,
    Observations,
    ObservedInstance,
    ObservedModel,
)

GIB = 1024**3
MIB = 1024**2
A, B = "GPU-aaaaaaaa", "GPU-bbbbbbbb"
PCI = {A: "0000:18:00.0", B: "0000:3b:00.0"}
UNIT = "ollama@gpu0-1.service"
PID = 4242
NAME = "llama4:16x17b-optimized"
OVERHEAD = 298 * MIB


def device(uuid, share):
    """A predicted device with `share` bytes of the model: an eighth of it KV cache, and compute buffers."""
    part = min(GIB, share // 8)
    return {
        "uuid": uuid,
        "layers": 24,
        "weight_bytes": share - 2 * part,
        "kv_bytes": part,
        "compute_bytes": part,
        "projector_bytes": 0,
        "overhead_bytes": OVERHEAD,
        "total_bytes": share + OVERHEAD,
        "room_bytes": 48 * GIB,
    }


def plan(shares=None, outcome="split"):
    """A plan of one instance with one model; `shares` {uuid: bytes of the model}, empty for the CPU."""
    shares = {A: 33 * GIB, B: 32 * GIB} if shares is None else shares
    predicted = {
        "gpu_layers": 49 if shares else 0,
        "total_layers": 49,
        "fully_on_gpu": bool(shares),
        "host_bytes": 600 * MIB,
        "ubatch": 1024,
        "headroom_bytes": GIB,
        "devices": [device(uuid, share) for uuid, share in shares.items()],
    }
    model = {
        "name": "llama4:16x17b",
        "create_as": NAME,
        "from": "llama4:16x17b",
        "parameters": {"num_ctx": 32768, "num_gpu": 999},
        "keep_alive": -1,
        "expected": {"outcome": outcome if shares else "cpu"},
        "context_length": 32768,
        "parallel": 1,
        "kv_cache_type": "f16",
        "predicted": predicted,
    }
    return {
        "plan_version": 1,
        "ollama_version": "0.32.15",
        "feasible": True,
        "models": [],
        "warnings": [],
        "gpus": [{"uuid": uuid, "index": number, "foreign_bytes": 0} for number, uuid in enumerate((A, B))],
        "instances": [
            {
                "name": "gpu0-1",
                "unit": UNIT,
                "url": "http://127.0.0.1:11434",
                "port": 11434,
                "address": "127.0.0.1",
                "gpu_uuids": list(shares),
                "environment": {"CUDA_VISIBLE_DEVICES": ",".join(shares), "OLLAMA_SCHED_SPREAD": "1"},
                "models": [model],
            }
        ],
    }


def gpu(uuid, number, held, others=()):
    """Facts of one GPU on which our engine holds `held` bytes (None = not listed); `others`: (pid, bytes, unit)."""
    processes = [] if held is None else [dict(LISTED, used_bytes=held)]
    processes += [
        {"pid": pid, "name": "python3", "used_bytes": used, "unit": unit, "type": "compute"}
        for pid, used, unit in others
    ]
    used = sum(process["used_bytes"] or 0 for process in processes)
    total = max(48 * GIB, used)
    return {
        "uuid": uuid,
        "index": number,
        "pci_bus_id": PCI[uuid],
        "name": "NVIDIA RTX A6000",
        "mig": {"mode": None, "devices": []},
        "memory": {
            "total_bytes": total,
            "free_bytes": total - used,
            "used_bytes": used,
            "reserved_bytes": 0,
            "kind": "dedicated",
        },
        "processes": processes,
        "health": {"state": "ok", "reasons": []},
    }


def join(seen, number, process):
    """Enter a process into NVML's list of a GPU, and its memory into what is in use there."""
    fact = seen.inventory["gpus"][number]
    fact["processes"].append(process)
    fact["memory"]["used_bytes"] += process["used_bytes"] or 0
    fact["memory"]["free_bytes"] -= process["used_bytes"] or 0


#: What NVML lists of our engine.
LISTED = {"pid": PID, "name": "llama-server", "used_bytes": 0, "unit": UNIT, "type": "compute"}
#: What Ollama 0.32 starts the engine with for the plan.
ARGUMENTS = (
    "llama-server --model /m/blobs/sha256-1 --port 40000 --host 127.0.0.1 -c 32768 -np 1 --flash-attn auto "
    "-b 1024 -ub 1024 -ngl 999"
).split()

RELEASE = "/opt/release"
#: What the model has answered.
TOKENS = ((" The", -0.25, ((" The", -0.25), (" Once", -2.5))), (" sea", -0.5, ((" sea", -0.5), (" sky", -1.5))))
ANSWER = Answer(UNIT, NAME, "sha256-1 f16 ", " The sea", TOKENS)
#: The model's entry in /api/ps.
PS = {
    "name": NAME,
    "size": 66 * GIB,
    "size_vram": 66 * GIB,
    "context_length": 32768,
    "digest": "0" * 64,
    "expires_at": "2319-03-08T03:37:48.123456789Z",
}
#: What is known where the journal no longer reaches back to the engine's start.
WITHOUT_LOG = {"log": None, "device_uuids": {}, "log_missing": "the journal no longer has the start of this engine"}


def log(buffers=None, layers=(49, 49), dry_run=None, compute=None):
    """What engine_log.parse_engine returns of a load over two GPUs."""
    return EngineLog(
        devices={"CUDA0": LoggedDevice("NVIDIA RTX A6000", PCI[A]), "CUDA1": LoggedDevice("NVIDIA RTX A6000", PCI[B])},
        dry_run={"CUDA0": 33 * GIB, "CUDA1": 32 * GIB} if dry_run is None else dry_run,
        dry_run_host=700 * MIB,
        buffers={"CUDA0": 33 * GIB, "CUDA1": 32 * GIB, "CPU_Mapped": 550 * MIB} if buffers is None else buffers,
        compute={"CUDA0": GIB, "CUDA1": GIB} if compute is None else compute,
        cache={"CUDA0": GIB, "CUDA1": GIB} if compute is None else dict(compute),  # as much as in the plan
        layers=layers[0],
        layers_total=layers[1],
        load_seconds=9.5,
    )


def observations(held=None, others=None, **changes):
    """Observations of the plan above.

    held: {uuid: bytes or None}; others: {uuid: [(pid, bytes, unit)]}; changes: to what was observed of the model.
    """
    held = {A: 33 * GIB + OVERHEAD, B: 32 * GIB + OVERHEAD} if held is None else held
    others = others or {}
    model = ObservedModel(
        loaded=True,
        ps=dict(PS),
        engine=EngineProcess(
            PID,
            "sha256-1",
            40000,
            list(ARGUMENTS),
            started=5,
            parent=4200,
            executable=RELEASE + "/lib/ollama/llama-server",
            mapped=["/m/blobs/sha256-1", RELEASE + "/lib/ollama/libggml-base.so"],
        ),
        stayed=True,
        answered=True,
        answer=ANSWER,
        log=log(),
        device_uuids={"CUDA0": A, "CUDA1": B},
        load_seconds=9.5,
        tokens_per_second=31.5,
        utilization_peak={A: 47, B: 44},
        busy_processes={A: {PID: 47}, B: {PID: 44}},
        served_file="sha256-1",
        base_file="sha256-1",
        stored_digest="0" * 64,
    )
    inventory = {
        "state": "ok",
        "reason": None,
        "remedy": None,
        "unlisted": [],
        "gpus": [gpu(uuid, number, held.get(uuid), others.get(uuid, ())) for number, uuid in enumerate((A, B))],
    }
    instance = ObservedInstance(
        reachable=True,
        unit={"ActiveState": "active", "MainPID": "4200", "NeedDaemonReload": "no"},
        loaded=[NAME],
        models={NAME: dataclasses.replace(model, **changes)},
        version="0.32.15",
        listener={"address": "127.0.0.1", "port": 11434, "pid": 4200, "process": "ollama", "unit": UNIT},
        executable=RELEASE + "/bin/ollama",
        runs_next=True,
        differences=[],
    )
    return Observations(inventory, {"gpu0-1": instance})


# -- views of an Evidence ----------------------------------------------------------------------------------------------


def findings(evidence):
    return [entry.finding for entry in evidence.diagnosis]


def checks(evidence):
    return {check.name: check.passed for check in evidence.instances[0].models[0].checks}


def failed(evidence):
    return [name for name, passed in checks(evidence).items() if passed is False]


# -- documentation -----------------------------------------------------------------------------------------------------


def documented_lies():
    """{lie: (check, finding)} of the table in the guide."""
    text = (pathlib.Path(__file__).parents[5] / "docs" / "docsite" / "rst" / "lies.rst").read_text()
    row = re.compile(r"   \* - ``(\w+)``\n     - .*\n     - ``(\w+)``, ``(\w+)``\n     - .+\n")
    return {name: (check, finding) for name, check, finding in row.findall(text)}
