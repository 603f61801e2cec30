# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The state file's GPUs as a CUDA program sees them: order, visibility, memory."""

from __future__ import annotations

import errno
import os

from tests.rig.gpus import state as gpu_state

MIB = 1024 * 1024
CUDA_FAILED = "ggml_cuda_init: failed to initialize CUDA: %s"


class Device:
    """One CUDA device: `name` (CUDA0), `place` in the state file (gpu0, gpu0.mig.2), `uuid`, `description`, `pci`.

    `capability` is text; `total`, `free` and `context` are in bytes.
    """

    def __init__(self, name, gpu, total, free):
        self.name, self.place = name, gpu["place"]
        self.description, self.pci, self.capability = gpu["name"], gpu["pci"], gpu["compute_capability"] or "0.0"
        self.uuid, self.context = gpu["uuid"], gpu["context"]
        self.total, self.free = total, free


def host_memory():
    """(total, available) of this host in bytes."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        values = dict(line.split(":", 1) for line in stream)
    return tuple(int(values[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))


def _can_open(name):
    """Whether a device node is there and this process may open it; there is no driver behind it (ENXIO)."""
    try:
        os.close(os.open("/dev/" + name, os.O_RDWR))
    except OSError as error:
        return error.errno == errno.ENXIO
    return True


def _usable(state):
    """(GPUs that CUDA would offer, in CUDA's order before CUDA_VISIBLE_DEVICES; why there are none)."""
    if state is None:
        return [], "no CUDA-capable device is detected"
    if "fault.nvmlInit" in state:
        return [], "system has unsupported display driver / cuda driver combination"
    nodes = state.get("driver.nodes") == "1"
    if nodes and not _can_open("nvidiactl"):
        return [], "no CUDA-capable device is detected"
    if nodes and not _can_open("nvidia-uvm"):
        return [], "unknown error"  # CUDA_ERROR_UNKNOWN: unified memory cannot be set up
    found = []
    for gpu in gpu_state.gpus(state):
        prefix = "gpu%d." % gpu["index"]
        if nodes and not _can_open("nvidia" + state.get(prefix + "minor", str(gpu["index"]))):
            continue  # CUDA does not count a GPU whose node it cannot open
        if prefix + "fault" in state or state.get(prefix + "compute_mode") == "2":
            continue
        # CUDA cannot use a GPU that is divided into MIG devices as a whole.
        found += gpu["mig"] if state.get(prefix + "mig") == "1" else [gpu]
    return found, "" if found else "no CUDA-capable device is detected"


def _order(state, gpus, environment):
    if environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return sorted(gpus, key=lambda gpu: gpu["pci"] or "")

    def speed(gpu):
        major, _dot, minor = (gpu["compute_capability"] or "0.0").partition(".")
        return -int(major) * 100 - int(minor), -int(state.get("gpu%d.cores" % gpu["index"], 0))

    # FASTEST_FIRST, CUDA's default; equal cards stay in the order of NVML.
    return sorted(gpus, key=speed)


def _select(gpus, wanted):
    """CUDA_VISIBLE_DEVICES: indices or UUIDs (a unique beginning is enough); the first invalid entry ends the list."""
    if wanted is None:
        return gpus
    chosen = []
    for token in wanted.split(","):
        token = token.strip()
        if token.startswith(("GPU-", "MIG-")):
            matching = [gpu for gpu in gpus if (gpu["uuid"] or "").startswith(token)]
        else:
            matching = gpus[int(token) : int(token) + 1] if token.isdigit() else []
        if len(matching) != 1 or matching[0] in chosen:
            break
        chosen.append(matching[0])
    return chosen


def visible(state, environment):
    """([Device] in this process's order, sentence why there are none)."""
    if "/vulkan" in environment.get("LD_LIBRARY_PATH", "") and "/cuda" not in environment.get("LD_LIBRARY_PATH", ""):
        return [], ""  # Ollama asks once for each library directory: the Vulkan one has no CUDA devices
    gpus, why = _usable(state)
    if not gpus:
        return [], why
    chosen = _select(_order(state, gpus, environment), environment.get("CUDA_VISIBLE_DEVICES"))
    if any(gpu["uuid"] and gpu["uuid"].startswith("MIG-") for gpu in chosen):
        chosen = chosen[:1]  # a process sees one MIG device
    devices = []
    for number, gpu in enumerate(chosen):
        total, free = (gpu["total"], gpu["free"]) if gpu["total"] is not None else host_memory()
        # cudaMemGetInfo needs a context, which takes its part.
        devices.append(Device("CUDA%d" % number, gpu, total, max(0, free - gpu["context"])))
    return devices, "" if devices else "no CUDA-capable device is detected"


def init_lines(devices, why):
    """What ggml prints when it loads its CUDA backend."""
    if not devices:
        return [CUDA_FAILED % why] if why else []
    lines = ["ggml_cuda_init: found %d CUDA devices:" % len(devices)]
    for number, device in enumerate(devices):
        lines.append(
            "  Device %d: %s, compute capability %s, VMM: yes, VRAM: %d MiB"
            % (number, device.description, device.capability, device.total // MIB)
        )
    return lines
