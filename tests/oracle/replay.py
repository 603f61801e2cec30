# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run the product's own functions on every row of recorded decisions and print what differs.

Usage: python tests/oracle/replay.py FILE ...

Takes era-?.jsonl (decisions of older releases; with the era-models.json beside it, if there is one), *-placement.jsonl
(choices of a running Ollama), *-residents.jsonl (sequences of loads on one server, a row a step), engine-rows.json
and engine-rows-server.json (the engine's memory per device), engine-table.jsonl and engine-older.jsonl (the same for
the oracle's models), engine-speculation.jsonl (the
same with drafts, heads that predict and adapters), engine-fit.jsonl and engine-fits.jsonl (what llama.cpp's fit chose);
files are known by their rows, whatever their names. Prints `NAME: equal N of M` per file and the rows that differ,
expected beside got; ends with 1 if any row differs, with 2 if a file is not a recording.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
MIB = 1024 * 1024
CONTEXT_MIB = 300  # what the stand-in of the recordings took per GPU beside its buffers


def importable():
    """Make the checkout importable as the collection where nobody did it yet (run as a program)."""
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))
    try:
        import ansible_collections.gpufleet.ollama  # noqa: F401
    except ImportError:
        parent = pathlib.Path(tempfile.mkdtemp(prefix="gpufleet-collections-")) / "ansible_collections" / "gpufleet"
        parent.mkdir(parents=True)
        (parent / "ollama").symlink_to(CHECKOUT)
        sys.path.insert(0, str(parent.parent.parent))


importable()

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate as memory  # noqa: E402
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load  # noqa: E402
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import llama_fit, v0_30  # noqa: E402
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.shapes import LoadRequest  # noqa: E402

from tests.oracle import before_0_30, fits, models, offload, speculation, table  # noqa: E402


def gpus_of(row):
    """GPUs of a recorded row in the scheduler's terms."""
    return [
        {
            "uuid": gpu["uuid"],
            "total_bytes": gpu["total_mib"] * MIB,
            "free_bytes": gpu["free_mib"] * MIB,
            "compute_capability": [int(part) for part in gpu["compute_capability"].split(".")],
        }
        for gpu in row["gpus"]
    ]


def placement_row(row):
    """(expected, got) of a recorded load: the fields that recordings/README.md says to compare."""
    gpus = gpus_of(row)
    decision = v0_30.choose(LoadRequest(models.facts(row["model"]), tuple(gpus), row["options"], row["environment"]))
    if row["options"].get("num_gpu") == 0:
        visible = row["environment"].get("CUDA_VISIBLE_DEVICES")
    else:
        visible = ",".join(decision.tokens) if decision.tokens else row["environment"].get("CUDA_VISIBLE_DEVICES")

    def text(value):
        return None if value is None else str(value)

    got = {
        "status": 500 if decision.error else 200,
        "child_cuda_visible_devices": visible,
        "single_gpu": decision.single_gpu,
        "main_gpu": text(decision.main_gpu),
        "c": decision.context_length * decision.parallel,
        "np": decision.parallel,
        "b": text(decision.batch),
        "ub": text(decision.batch),
        "ngl": text(decision.gpu_layers),
        "flash_attn": decision.flash_attention,
        "cache_type_k": decision.cache_type,
    }
    return {key: row["result"][key] for key in got}, got


def resident_steps(rows):
    """Rows of sequences as single steps, each with the engines that run before it.

    The recordings do not hold the engines' buffers. What a model takes from the driver's free memory between two steps
    is its buffers and CONTEXT_MIB a GPU, taken in proportion to the GPUs; the stand-in engine of the recordings prints
    its buffers in equal parts, whatever it takes from the driver (the `selected.available` of the steps shows it).
    """
    steps = []
    for row in rows:
        running = {}
        for number, step in enumerate(row["steps"]):
            free = step["free_mib_before"]
            running = {name: engine for name, engine in running.items() if name in step["resident_before"]}
            for name, positions in step["resident_before"].items():
                if name not in running:
                    before = _free_without(row, running)
                    held = {position: (before[position] - free[position]) * MIB for position in positions}
                    buffers = max(0, sum(held.values()) - CONTEXT_MIB * MIB * len(held))
                    running[name] = {
                        "held": held,
                        "buffers": {position: buffers // len(held) for position in held},
                        "free_at_load": {position: before[position] * MIB for position in positions},
                    }
            steps.append(dict(row, step=step, residents=list(running.values()), names=list(running), number=number))
    return steps


def _free_without(row, running):
    free = [gpu["free_mib"] for gpu in row["gpus"]]
    for engine in running.values():
        for position, size in engine["held"].items():
            free[position] -= size // MIB
    return free


def resident_step(row):
    """(expected, got) of one load on a server that holds models already: GPUs chosen and what is loaded afterwards."""
    step = row["step"]
    gpus = [dict(gpu, free_bytes=free * MIB) for gpu, free in zip(gpus_of(row), step["free_mib_before"])]
    decision = v0_30.choose(
        LoadRequest(
            models.facts(step["model"]),
            tuple(gpus),
            step["options"],
            row["environment"],
            residents=tuple(row["residents"]),
        )
    )
    stay = row["names"][decision.evicted :]
    expected = {"gpus": step["result"]["child_cuda_visible_devices"], "resident_after": sorted(step["resident_after"])}
    return expected, {"gpus": ",".join(decision.tokens), "resident_after": sorted(set(stay + [step["model"]]))}


def engine_row(row):
    """(expected, got) of an engine row, MiB per device [weights, KV, compute], as far as the tolerances allow.

    Weights and KV must agree to 1 MiB; the total of a device within max(3 %, 128 MiB). Within those, the expected
    value stands for the predicted one.
    """
    model = models.facts(row["model"])
    predicted = memory.estimate(model, row["tensor_split"], table.load_of(row, row["served"], model))
    expected, got = {}, {}
    for index, device in enumerate(predicted.devices):
        engine = row["mib"]["RPC%d" % index]
        ours = [size / MIB for size in (device.weight_bytes, device.kv_bytes, device.compute_bytes)]
        total = sum(engine)
        near = all(abs(a - b) <= 1 for a, b in zip(engine[:2], ours[:2])) and abs(sum(ours) - total) <= max(
            0.03 * total, 128
        )
        expected[str(index)] = engine
        got[str(index)] = engine if near else [round(value, 1) for value in ours]
    return expected, got


def fit_row(row):
    """(expected, got) of a fit: whether it changed anything, layers per device, presence of overrides, MiB used.

    MiB used stand as expected where they agree within max(3 %, 128 MiB).
    """
    fitted = llama_fit.fit(
        models.facts(row["model"]),
        [size * MIB for size in row["devices_mib"]],
        Load(row["n_ctx"], ubatch=row["n_ubatch"], cache_type=row["cache_type"]),
    )
    ours = [size / MIB for size in fitted.counted_bytes]
    expected = {"changed": row["changed"]}
    got = {"changed": fitted.changed}
    devices = [row["devices"][str(index)] for index in range(len(row["devices"]))]
    engine = [device["used_mib"] if row["changed"] else device["initial_used_mib"] for device in devices]
    if row["changed"] and devices:
        expected["layers"], got["layers"] = [device["layers"] for device in devices], fitted.layers
        expected["overrides"], got["overrides"] = "-ot" in row["arguments"], fitted.overflowing > 0
    if engine:
        near = len(engine) == len(ours) and all(abs(a - b) <= max(0.03 * a, 128) for a, b in zip(engine, ours))
        expected["used_mib"], got["used_mib"] = engine, engine if near else [round(value) for value in ours]
    return expected, got


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _kind(rows, path):
    """What a file holds, by the entries of its rows: (rows to compare, function for one row)."""
    head = next((row for row in rows if "model" in row or "case" in row or "steps" in row), {})
    table_of_contents = [row for row in rows if row is not head and "engine" in row and "model" not in row]
    rows = [row for row in rows if row not in table_of_contents]
    if "steps" in head:
        return resident_steps(rows), resident_step
    if "case" in head and "result" in head:
        return rows, lambda row: before_0_30.compare(row, path.parent)
    if "result" in head and "gpus" in head:
        return rows, placement_row
    if "offloaded" in head:
        return rows, offload.compare
    if "changed" in head:
        return rows, fit_row if "devices" in head else fits.compare
    if "speculation" in head:
        return rows, speculation.compare
    if "mib" in head:
        return rows, table.compare if "layers" in head else engine_row
    raise ValueError(
        "%s is not a recording this replayer knows; give era-?.jsonl, *-placement.jsonl, *-residents.jsonl, "
        "engine-rows.json, engine-table.jsonl, engine-offload.jsonl, engine-fit.jsonl or engine-fits.jsonl "
        "(the names do not matter, the rows do)." % path.name
    )


def rows_of(path):
    """(rows, function for one row) of a file: one JSON value a line, or one document with `rows`.

    Raises:
        ValueError: not JSON, no rows, or rows of no known kind.
    """
    path = pathlib.Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise ValueError("%s is not JSON (%s); give a recording as it was written." % (path.name, error))
        rows = _rows_of_document(rows) if isinstance(rows, dict) else rows
    if len(rows) == 1 and isinstance(rows[0], dict) and "rows" in rows[0]:
        rows = _rows_of_document(rows[0])
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("%s holds no rows; give a recording with at least one." % path.name)
    return _kind(rows, path)


def _rows_of_document(document):
    """The rows of one document, each with `served`: whether llama-server itself gave them."""
    served = str(document.get("tool", "")).startswith("llama-server")
    return [dict(row, served=served) if isinstance(row, dict) else row for row in document.get("rows", [])]


def replay(path):
    """(rows compared, list of (row number, expected, got) that differ).

    A row that cannot be compared differs, with the reason.
    """
    rows, compare = rows_of(path)
    differing = []
    for number, row in enumerate(rows, 1):
        try:
            expected, got = compare(row)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            expected, got = {"row": "a row that can be compared"}, {"row": _reason(row, error, path)}
        if expected != got:
            differing.append((number, expected, got))
    return len(rows), differing


def _reason(row, error, path):
    """One sentence: why a row cannot be compared."""
    name = row.get("model") or row.get("case", {}).get("model") or row.get("step", {}).get("model")
    if isinstance(error, KeyError) and error.args[0] == name:
        beside = (
            ""
            if (pathlib.Path(path).parent / before_0_30.MODELS).exists() or "case" not in row
            else ", and no %s lies beside the file" % before_0_30.MODELS
        )
        return "its model %s is not in the tables of models%s" % (name, beside)
    if isinstance(error, KeyError):
        return "it has no entry %s" % error
    return "%s: %s" % (type(error).__name__, error)


def main(paths):
    """Replay files; the exit status: 0 all equal, 1 rows differ, 2 a file is not a recording."""
    if not paths:
        print(__doc__)
        return 2
    worst = 0
    for path in paths:
        try:
            count, differing = replay(path)
        except (OSError, ValueError) as error:
            print("%s: equal 0 of 0" % pathlib.Path(path).name)
            print("  %s" % error)
            worst = 2
            continue
        print("%s: equal %d of %d" % (pathlib.Path(path).name, count - len(differing), count))
        for number, expected, got in differing:
            worst = max(worst, 1)
            print("  row %d" % number)
            for key in expected:
                if expected[key] != got.get(key):
                    print("    %s: expected %s, got %s" % (key, expected[key], got.get(key)))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
