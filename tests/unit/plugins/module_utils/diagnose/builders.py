# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The evidence of a host where all is well: two equal GPUs, one Ollama of its own installer, one model on both."""

from __future__ import annotations

import copy
from dataclasses import replace

from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.diagnosis import findings
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import (
    Engine,
    HostEvidence,
    Node,
    Program,
    Server,
    ServerGpu,
    ServerLog,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import EngineLog, EngineProcess
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.health import REMEDIES

GIB = 1024**3
MIB = 1024**2
A, B = "GPU-aaaaaaaa-1111", "GPU-bbbbbbbb-2222"
PCI = {A: "0000:01:00.0", B: "0000:41:00.0"}
UNIT = "ollama.service"
PROGRAM = "/usr/local/bin/ollama"
SERVER_PID, ENGINE_PID, OTHER_PID = 900, 901, 4711


def gpu(own, number, **changes):
    """Facts of a GPU on which the engine holds 10 GiB."""
    facts = {
        "uuid": own,
        "index": number,
        "minor_number": number,
        "pci_bus_id": PCI[own],
        "name": "NVIDIA RTX A6000",
        "compute_capability": "8.6",
        "compute_mode": "default",
        "persistence_mode": True,
        "virtualization_mode": "none",
        "memory": {"total_bytes": 48 * GIB, "free_bytes": 37 * GIB, "kind": "dedicated"},
        "mig": {"mode": None, "pending_mode": None, "devices": []},
        "pcie": {"generation": 1, "max_generation": 4, "width": 16, "max_width": 16},
        "nvlink": {"links": 4, "active": 4},
        "ecc": {"enabled": False},
        "recovery_action": "none",
        "throttle_reasons": [],
        "temperature_celsius": 50,
        "slowdown_temperature_celsius": 93,
        "power_limit_milliwatts": 300000,
        "default_power_limit_milliwatts": 300000,
        "vgpu_licensed": None,
        "processes": [{"pid": ENGINE_PID, "name": "llama-server", "used_bytes": 10 * GIB, "unit": UNIT}],
        "health": {"state": "ok", "reasons": []},
        "unsupported": [],
        "errors": {},
    }
    facts.update(changes)
    return facts


def inventory(first=None, second=None, **changes):
    """The fact gpu_inventory; `first` and `second` are changes of the two GPUs."""
    facts = {
        "state": "ok",
        "reason": None,
        "remedy": None,
        "driver_version": "580.95.05",
        "gpus": [gpu(A, 0, **(first or {})), gpu(B, 1, **(second or {}))],
        "topology": [{"uuids": [A, B], "path": "NODE", "nvlinks": 4, "peer_access": "ok"}],
        "unlisted": [],
        "no_gpu_present": False,
    }
    facts.update(changes)
    return facts


def broken(state, **changes):
    """An inventory of a host whose GPUs cannot be read."""
    remedy = REMEDIES[state]
    return inventory(state=state, reason="the driver says %s" % state, remedy=remedy, gpus=[], topology=[], **changes)


def engine(*more, log=None, **changes):
    """An engine that holds half of its model on each GPU; `more` are further arguments."""
    process = EngineProcess(
        pid=ENGINE_PID,
        model_file="sha256-1234",
        port=4000,
        arguments=["llama-server", "--model", "/blobs/sha256-1234", "--port", "4000", "-c", "4096", *more],
        started=100,
        parent=SERVER_PID,
    )
    made = Engine(
        process=process,
        log=EngineLog(**dict({"layers": 49, "layers_total": 49}, **(log or {}))),
        held={A: 10 * GIB, B: 10 * GIB},
        loaded={"name": "llama3:70b", "size": 20 * GIB, "size_vram": 20 * GIB, "context_length": 4096},
    )
    return replace(made, **changes)


def server(environment=None, **changes):
    """The server of the installer; `environment` is of process and unit."""
    variables = {"PATH": "/usr/bin", "OLLAMA_SCHED_SPREAD": "1", **(environment or {})}
    variables = {name: value for name, value in variables.items() if value is not None}
    made = Server(
        name=UNIT,
        pid=SERVER_PID,
        properties={"ActiveState": "active", "SubState": "running", "NeedDaemonReload": "no", "DropInPaths": ""},
        process=variables,
        unit=dict(variables),
        executable=PROGRAM,
        url="http://127.0.0.1:11434",
        version="0.32.15",
        loaded=[{"name": "llama3:70b"}],
        user=(998, [998, 44]),
        log=ServerLog(gpus=[ServerGpu("CUDA", PCI[A]), ServerGpu("CUDA", PCI[B])]),
        engines=(engine(),),
    )
    return replace(made, **changes)


def host(**changes):
    """A host; what is not given is well."""
    made = HostEvidence(
        inventory=inventory(),
        nodes=tuple(
            Node(path, 0o666, 0, 0) for path in ("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl")
        ),
        kernel_lines=[],
        servers=(server(),),
        programs=(Program(PROGRAM, "/usr/local/lib/ollama", ("cuda_v12", "cuda_v13", "llama-server", "vulkan")),),
        memory={"MemTotal": 128 * GIB, "MemFree": 20 * GIB, "MemAvailable": 100 * GIB},
        under_load={A: {"busy_samples": 9, "generation": 4, "width": 16, "throttle_reasons": []}},
    )
    return replace(made, **copy.deepcopy(changes))


def found(evidence):
    """{kind: finding} of a host."""
    return {finding.finding: finding for finding in findings(evidence)}


def nodes(**modes):
    """Device nodes with other modes; None = not there. Names: uvm, first, second, control."""
    names = {"uvm": "/dev/nvidia-uvm", "first": "/dev/nvidia0", "second": "/dev/nvidia1", "control": "/dev/nvidiactl"}
    return tuple(
        Node(path, *((None, None, None) if modes.get(name, 0o666) is None else (modes.get(name, 0o666), 0, 0)))
        for name, path in names.items()
    )
