# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ratios measured in one run, each against something else that does the same work on the same machine (make bench).

* header: processor time of reading what a model needs from a GGUF header, against the PyPI package gguf on the same file;
* memory: error of the prediction against the engine's own answers, with the peers' formulas beside it (memory.py);
* placement: processor time of planning one host, and what ten times the GPUs of a host cost.

Only ratios mean something elsewhere; the seconds beside them are this machine's.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import tests.conftest  # noqa: E402, F401  pylint: disable=unused-import  # makes the checkout importable as a collection

from ansible_collections.gpufleet.ollama.plugins.module_utils.gguf.source import from_file  # noqa: E402
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.plan import make_plan  # noqa: E402
from tests.bench import memory  # noqa: E402
from tests.rig.models.store import write_model  # noqa: E402

MODEL = "llama4:16x17b"
GIB = 1024 ** 3


def seconds(work, rounds):
    """Median processor time of one call."""
    times = []
    for unused in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def row(what, ratio, detail):
    print("%-52s %8.2f   %s" % (what, ratio, detail))


def headers(path):
    import gguf

    ours = seconds(lambda: from_file(str(path)), 5)
    theirs = seconds(lambda: gguf.GGUFReader(str(path)), 2)
    row("bytes of %s read for its header, KiB" % MODEL, from_file(str(path))[1] / 1024, "of a file of %d bytes" % path.stat().st_size)
    row("header of %s, PyPI gguf / ours" % MODEL, theirs / ours, "%.1f ms and %.1f ms" % (theirs * 1e3, ours * 1e3))


def inventory(gpus):
    """GPU facts of a host with equal GPUs of 48 GiB, as gpu_facts returns them."""
    return {
        "state": "ok", "driver_version": "570.00", "topology": [],
        "gpus": [{
            "uuid": "GPU-00000000-0000-0000-0000-%012d" % number, "index": number, "pci_bus_id": "0000:%02x:00.0" % (number + 1), "name": "NVIDIA RTX A6000",
            "vendor": "NVIDIA", "architecture": "ampere", "compute_capability": "8.6", "numa_node": 0, "mig": {"mode": "disabled", "devices": []},
            "memory": {"total_bytes": 48 * GIB, "free_bytes": 48 * GIB, "used_bytes": 0, "reserved_bytes": 0, "kind": "dedicated"},
            "processes": [], "health": {"state": "ok", "reasons": []}, "unsupported": [], "errors": {},
        } for number in range(gpus)],
    }


def placement(path):
    model = from_file(str(path))[0]

    def plan(gpus):
        wanted = {"name": MODEL, "model": model, "strategy": "split", "context_length": "32768"}
        result = make_plan(gpu_inventory=inventory(gpus), models=[wanted], ollama_version="0.32.15")
        if not result["feasible"]:
            sys.exit("bench: the plan is not feasible: %s" % result["models"][0]["reason"])

    two, twenty = seconds(lambda: plan(2), 5), seconds(lambda: plan(20), 5)
    row("plan of a host with 20 GPUs / with 2", twenty / two, "%.1f ms and %.1f ms" % (twenty * 1e3, two * 1e3))
    ten = seconds(lambda: [plan(2) for unused in range(10)], 3)
    row("plans of 10 hosts / header of the model read once", ten / seconds(lambda: from_file(str(path)), 5), "%.1f ms for the ten" % (ten * 1e3))


def main():
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as scratch:
        path = pathlib.Path(scratch) / "model.gguf"
        write_model(MODEL, path)
        headers(path)
        placement(path)
    memory.main()


if __name__ == "__main__":
    main()
