# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Everything that the project claims as a number, measured in one run (make bench) and held against its limits.

* headers: processor time and bytes moved, by ranges from a registry, against the PyPI package gguf (headers.py);
* placement: processor time of planning one host, and what ten times the GPUs of a host cost;
* memory: error of the prediction against the engine's own answers, with the peers' formulas beside it (memory.py);
* gateway: time to the first byte and requests a second beside direct access (gateway.py);
* report: time to make the report of 1,000 hosts and to open it in Chromium, beside smaller ones (opening.py);
* recorded decisions: rows on which the product's own functions say the same (tests/oracle/replay.py).

Only ratios and counts mean something elsewhere; the seconds beside them are this machine's. Ends with 1 if a limit is
missed.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

importlib.import_module("tests.conftest")  # makes the checkout importable as a collection

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.plan import make_plan  # noqa: E402
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.shapes import PlanRequest  # noqa: E402

from tests.bench import gateway, headers, memory, opening  # noqa: E402
from tests.bench.report import Limits  # noqa: E402
from tests.bench.timing import row, seconds  # noqa: E402
from tests.oracle import record, replay, table  # noqa: E402

GIB = 1024**3
SERVER, FIT_PARAMS = "llama-server (build 11669)", "llama-fit-params (build 11669)"
# Beginning of a recording's name -> who gave the answers.
REFEREES = (
    ("era-", "the releases' own functions"),
    ("ollama-", "Ollama 0.32.15"),
    ("engine-rows.json", FIT_PARAMS),
    ("engine-fit.jsonl", FIT_PARAMS),
    ("engine-", SERVER),
)
RECORDINGS = CHECKOUT / "tests" / "fixtures" / "recordings"
# Ending of a recording's name -> share of its rows that must be equal
SHARES = (
    ("-modelfiles.jsonl", None),  # no decisions: tests of the Modelfile reader hold them
    ("-placement.jsonl", 1.0),
    ("-residents.jsonl", 0.95),
    ("engine-rows.json", 0.99),
    ("engine-rows-server.json", 0.995),
    ("engine-fit.jsonl", 0.95),
    ("engine-fits.jsonl", 0.99),
    (".jsonl", 0.99),
)


def inventory(gpus):
    """GPU facts of a host with equal GPUs of 48 GiB, as gpu_facts returns them."""
    return {
        "state": "ok",
        "driver_version": "570.00",
        "topology": [],
        "gpus": [
            {
                "uuid": "GPU-00000000-0000-0000-0000-%012d" % number,
                "index": number,
                "pci_bus_id": "0000:%02x:00.0" % (number + 1),
                "name": "NVIDIA RTX A6000",
                "vendor": "NVIDIA",
                "architecture": "ampere",
                "compute_capability": "8.6",
                "numa_node": 0,
                "mig": {"mode": "disabled", "devices": []},
                "memory": {
                    "total_bytes": 48 * GIB,
                    "free_bytes": 48 * GIB,
                    "used_bytes": 0,
                    "reserved_bytes": 0,
                    "kind": "dedicated",
                },
                "processes": [],
                "health": {"state": "ok", "reasons": []},
                "unsupported": [],
                "errors": {},
            }
            for number in range(gpus)
        ],
    }


def plan_without_a_place(model, count):
    """A plan of `count` large models that two GPUs do not hold, with all that would help."""
    wanted = [{"name": "model%d" % number, "model": model, "context_length": "32768"} for number in range(count)]
    if make_plan(PlanRequest(inventory(2), wanted, "0.32.15"))["feasible"]:
        sys.exit("bench: the plan of models that do not fit is feasible")


def plan(model, gpus):
    """A plan with everything left at its defaults."""
    wanted = {"name": headers.LARGE, "model": model, "strategy": "split", "context_length": "32768"}
    result = make_plan(PlanRequest(inventory(gpus), [wanted], "0.32.15"))
    if not result["feasible"]:
        sys.exit("bench: the plan is not feasible: %s" % result["models"][0]["reason"])
    return result


def placement(model, header_seconds):
    """Print the ratios of planning."""
    two, twenty = seconds(lambda: plan(model, 2), 5), seconds(lambda: plan(model, 20), 5)
    row("plan of a host with 20 GPUs / with 2", twenty / two, "%.1f ms and %.1f ms" % (twenty * 1e3, two * 1e3))
    without = seconds(lambda: plan_without_a_place(model, 3), 1)
    row("plan of 3 models that 2 GPUs do not hold / plan of one that fits", without / two, "%.2f s" % without)
    ten = seconds(lambda: [plan(model, 2) for unused in range(10)], 3)
    row("plans of 10 hosts / header of the model read once", ten / header_seconds, "%.1f ms for the ten" % (ten * 1e3))


def recorded(limits):
    """Replay every recording that the replayer knows."""
    print(
        "\nrecorded decisions, by the product's own functions (tests/oracle/replay.py FILE shows the rows that differ)"
    )
    for path in sorted(RECORDINGS.iterdir()) + [
        CHECKOUT / "tests" / "oracle" / name
        for name in ("engine-fits.jsonl", "engine-offload.jsonl", "engine-speculation.jsonl")
    ]:
        share = next((share for ending, share in SHARES if path.name.endswith(ending)), None)
        if share is None:
            continue  # the models of the rows, and answers of the API, which the rig's referees hold
        count, differing = replay.replay(path)
        equal = count - len(differing)
        print(
            "%s, by %s: equal %d of %d%s"
            % (
                path.name,
                next(referee for beginning, referee in REFEREES if path.name.startswith(beginning)),
                equal,
                count,
                "; not row %s" % ", ".join(str(one[0]) for one in differing) if differing else "",
            )
        )
        limits.hold(
            "rows of %s equal" % path.name,
            "%d of %d" % (equal, count),
            "all" if share == 1 else "at least %d %%" % (100 * share),
            equal >= share * count,
        )


def main():
    limits = Limits()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as scratch:
        model, header_seconds = headers.measure(scratch, limits)
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as scratch:
        gateway.measure(scratch, limits)
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as scratch:
        opening.measure(scratch, limits)
    placement(model, header_seconds)
    served, older = memory.Comparison(table.rows()), memory.Comparison(table.rows(record.OLDER))
    memory.show_ours(served, SERVER)
    memory.show_peers(served, SERVER)
    memory.hold(served, limits, SERVER, 1500)
    memory.show_ours(older, FIT_PARAMS)
    memory.hold(older, limits, FIT_PARAMS, 250)
    recorded(limits)
    for found, path in ((served, table.TABLE), (older, record.OLDER)):
        print("%s: equal %d of %d" % (path.name, found.equal, found.rows))
    return 0 if limits.show() else 1


if __name__ == "__main__":
    sys.exit(main())
