# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Error of the memory prediction against the engine's own answers, and of the peers' formulas on the same rows, side by side (make bench).

The rows are those of tests/oracle/engine-table.jsonl. Ours is compared device by device. The peers' formulas know one total: they are compared on
the rows of one device that holds everything. The engine's figures are its buffers, without the driver's context on the device; where a formula
includes that, 300 MiB are added to the engine's figure before the comparison.

* pre-check: what Ollama 0.30 and later decides by (llm/llama_server.go PredictServerVRAM);
* 0.11.4: the estimator of that release (llm/memory.go, fs/ggml/ggml.go GraphSize), its 457 MiB a device left out;
* regression: the fit that text-generation-webui (oobabooga) shows beside its sliders, which includes the context.
"""

from __future__ import annotations

import collections
import math
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import tests.conftest  # noqa: E402, F401  pylint: disable=unused-import  # makes the checkout importable as a collection

from ansible_collections.gpufleet.ollama.plugins.module_utils.scheduler import dimensions, era_e, graph_sizes  # noqa: E402
from tests.oracle import table  # noqa: E402
from tests.oracle.engine.dimensions import HELD_OUT, of_model  # noqa: E402

MIB = 1024 * 1024
CONTEXT_MIB = 300
BITS = {"f16": 16, "q8_0": 8, "q4_0": 4}
LINE = "%-16s %6d  %9.2f %9.2f %9.2f   %8.2f%% %8.2f%% %8.2f%%"


def pre_check(model, row):
    """MiB that Ollama 0.30 and later predicts."""
    if not any(model["head_count"] or [0]):
        return None  # it divides by the heads
    return era_e.predicted_bytes(model, row["n_ctx"]) / MIB


def estimator(model, row):
    """MiB of Ollama 0.11.4's estimate for one GPU that holds everything."""
    dims = dimensions.Dimensions(model)
    flash = row["flash_attn"] == "on"
    cache = row["cache_type"] if flash else "f16"
    kv, partial, full = graph_sizes.graph_size(dims, row["n_ctx"], row["n_ubatch"], row["n_parallel"], cache, flash, (0, 11, 4))
    full = graph_sizes.complete_graphs(dims, kv, partial, full)[1]
    return (sum(dims.block_bytes) + dims.output_bytes + sum(kv) + full) / MIB


def regression(model, row):
    """MiB of the regression, with CONTEXT_MIB taken off again."""
    layers = model["block_count"]
    heads = max(model["head_count_kv"] or [0])
    bits = BITS[row["cache_type"]]
    per_layer = model["file_bytes"] / MIB / layers - 17.99552795 + 3.148552680e-05 * heads * bits * row["n_ctx"]
    beside = max(0.96906364, bits - (math.floor(50.77817218 * model["embedding_length"] / row["n_ctx"]) + 9.98789990))
    return per_layer * (layers + beside) + 1516.52294386 - CONTEXT_MIB


PEERS = (("Ollama pre-check", pre_check), ("Ollama 0.11.4", estimator), ("regression", regression))


def spread(errors):
    """(median, 95th percentile, largest) of errors without their sign."""
    ordered = sorted(map(abs, errors))
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], ordered[-1]


def show(name, pairs):
    """One line: MiB and per cent of the engine's figure, over (ours, engine's) pairs."""
    print(LINE % ((name, len(pairs)) + spread([ours - engine for ours, engine in pairs])
                  + spread([100 * (ours - engine) / max(engine, 1) for ours, engine in pairs])))


def head(title):
    print("\n%s\n%-16s %6s  %9s %9s %9s   %9s %9s %9s" % (title, "", "n", "median", "p95", "max MiB", "median", "p95", "max %"))


def main():
    """Print the tables."""
    parts = collections.defaultdict(list)
    architectures = collections.defaultdict(list)
    alone = collections.defaultdict(list)
    layers, worst = [0, 0], 0
    for row in table.rows():
        devices = table.devices(row)
        for engine, ours, there, here in devices:
            for name, mine, theirs in zip(("weights", "KV cache", "compute"), ours, engine):
                parts[name].append((mine, theirs))
            parts["total"].append((sum(ours), sum(engine)))
            if row["model"] in HELD_OUT:
                parts["total, held out"].append((sum(ours), sum(engine)))
            architectures[of_model(row["model"])["arch"]].append((sum(ours), sum(engine)))
            layers[there == here] += 1
            worst = min(worst, sum(ours) - sum(engine))
        if len(devices) == 1 and row["n_gpu_layers"] == 999:
            total = sum(devices[0][0])
            alone["ours"].append((sum(devices[0][1]), total))
            for name, formula in PEERS:
                found = formula(table.facts(row["model"]), row)
                if found is not None:
                    alone[name].append((found, total))
    head("memory prediction against the engine (build 11669), per device")
    for name, pairs in parts.items():
        show(name, pairs)
    print("layers equal on %d of %d devices; never more than %.1f MiB too small" % (layers[True], sum(layers), -worst))
    head("total, by architecture")
    for name, pairs in sorted(architectures.items()):
        show(name, pairs)
    head("ours and the peers' formulas on the same rows: one device that holds everything")
    for name, pairs in alone.items():
        show(name, pairs)


if __name__ == "__main__":
    main()
