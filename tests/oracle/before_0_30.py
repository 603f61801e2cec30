# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Rows of era-A.jsonl to era-D.jsonl: decisions of older releases' own functions, beside the product's.

era-README.md beside the files tells what the rows hold. Compared are outcome, GPUs and layers per GPU (`final`), which
layers, for Ollama's own engine every request to the runner, and for the estimator its bytes.
"""

from __future__ import annotations

import functools
import json
import pathlib

from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import ModelFacts
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import layout, measured_layout
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.shapes import LoadRequest

RECORDINGS = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "recordings"
MODELS = "era-models.json"
SECOND_RELEASE = "v0.12.11"
ESTIMATE = (
    "layers",
    "split",
    "gpu_sizes",
    "graph",
    "vram_size",
    "total_size",
    "overflow",
    "kv",
    "graph_full",
    "graph_partial",
    "fully_offloaded",
)


@functools.lru_cache(maxsize=None)
def _table(path):
    return json.loads(pathlib.Path(path).read_text())


def tables(folder):
    """The tables of models and projectors: of a folder if it has them, else of the fixtures."""
    beside = pathlib.Path(folder) / MODELS
    return _table(str(beside if beside.exists() else RECORDINGS / MODELS))


def model(name, table, projector=None):
    """The ModelFacts of a model of the table, with what only releases before 0.30 need."""
    dims = table["models"][name]
    blocks = dims["block_count"]
    tied = dims["output_bytes"] is None
    ssm = {key[4:]: dims[key] for key in ("ssm_conv_kernel", "ssm_inner_size", "ssm_state_size", "ssm_group_count")}
    facts = {
        "name": "%s:latest" % name,
        "architecture": dims["architecture"],
        "block_count": blocks,
        "context_length": dims["context_length"],
        "embedding_length": dims["embedding_length"],
        "feed_forward_length": dims["feed_forward_length"],
        "vocab_size": dims["vocab_size"],
        "head_count": dims["head_count_array"] or [dims["head_count_max"]] * blocks,
        "head_count_kv": dims["head_count_kv_array"] or [dims["head_count_kv_max"]] * blocks,
        "key_length": dims["key_length"],
        "value_length": dims["value_length"],
        "sliding_window": dims["sliding_window"] or None,
        "ssm": ssm if any(ssm.values()) else None,
        "layers": [
            {"index": index, "weight_bytes": size, "expert_bytes": 0} for index, size in enumerate(dims["block_bytes"])
        ],
        "output_bytes": (dims["output_bytes"] or 0) + dims["output_norm_bytes"],
        "embedding_bytes": dims["token_embd_bytes"],
        "tied_embeddings": tied,
        "projector_bytes": table["projectors"][projector]["bytes"] if projector else 0,
        "projector_separate": bool(projector),
        "capabilities": ["completion"],
        "estimator": {
            "gate_expert_bytes": dims["ffn_gate_exps_bytes"],
            "gate_split_length": dims["ffn_gate0_shape1"],
            "qkv_bias_length": dims["attn_qkv_bias_shape0"],
            "cross_attention_layers": dims["cross_attention_layers"],
            "rope_frequencies": dims.get("rope_freqs_elements"),
            "vision": {"weight_bytes": dims["vision_weights_bytes"], "graph_bytes": dims["vision_graph_bytes"]},
        },
    }
    return ModelFacts.of(facts)


def gpus_of(case):
    """GPUs of a case in the scheduler's terms."""
    return [
        {
            "uuid": gpu["id"],
            "total_bytes": gpu["total"],
            "free_bytes": gpu["free"],
            "minimum_bytes": gpu["min_memory"],
            "library": gpu["library"],
            "variant": gpu.get("variant"),
            "driver_major": gpu["driver_major"],
            "compute_capability": [gpu["compute_major"], gpu["compute_minor"]],
            "integrated": gpu.get("integrated", False),
        }
        for gpu in case["gpus"]
    ]


def system_of(case):
    """System memory of a case."""
    return {"free_bytes": case["system"]["free"], "swap_bytes": case["system"]["swap"]}


def compare(row, folder):
    """(expected, got) of a row; rows of era-D.jsonl hold the decision of a second release too."""
    expected, got = _compare(row["case"], row["case"]["release"], row["result"], folder)
    if "same_in_%s" % SECOND_RELEASE in row:
        other = row.get("result_%s" % SECOND_RELEASE, row["result"])
        expected[SECOND_RELEASE], got[SECOND_RELEASE] = _compare(row["case"], SECOND_RELEASE, other, folder)
    return expected, got


def _compare(case, release, recorded, folder):
    version = versions.parse_version(release)
    got = _layout(case, version) if case["kind"] == "layout" else _decision(case, version, tables(folder))
    expected = _pruned(recorded)
    return expected, {key: got.get(key) for key in expected}


def _pruned(expected):
    """The parts of a recorded result that are compared."""
    kept = {key: expected[key] for key in ("final", "gpu_layers", "hang", "runner_requests") if key in expected}
    if "error" in expected:
        kept["error"] = expected["error"]
    if "reported_memory" in expected and expected["final"]["outcome"] == "load":
        kept["reported_memory"] = expected["reported_memory"]
    if "estimate" in expected:
        kept["estimate"] = {key: expected["estimate"][key] for key in ESTIMATE}
    return kept


def _layout(case, version):
    gpus, memory = gpus_of(case), case["memory"]
    rules = layout.Rules(
        version,
        case["num_gpu"],
        case["env"].get("OLLAMA_SCHED_SPREAD") == "1",
        int(case["env"].get("OLLAMA_GPU_OVERHEAD") or 0),
        case["other_model_loaded"],
        system_of(case),
    )
    sizes = [weights + cache for weights, cache in zip(memory["weights"], memory["cache"])]
    graphs = dict(enumerate(memory["graph"]))
    try:
        found = layout.create(
            rules, gpus, layout.Sizes(sizes, graphs, memory["input_weights"] + memory["cpu_graph"]), case["backoff"]
        )
    except layout.EndlessSearch:
        return {"hang": True}
    except layout.NeedsRoom:
        return {"error": "evict", "final": {"outcome": "evict"}}
    except layout.NoSystemMemory:
        return {"error": "system_memory", "final": {"outcome": "error"}}
    return _placed([(gpus[place]["uuid"], numbers) for place, numbers in found])


def _placed(ranges):
    used = [(uuid, len(numbers)) for uuid, numbers in ranges if numbers]
    entries = [
        {
            "id": uuid,
            "count": len(numbers),
            "first": numbers[0] if numbers else None,
            "last": numbers[-1] if numbers else None,
        }
        for uuid, numbers in ranges
    ]
    final = {
        "outcome": "load",
        "gpus": [uuid for uuid, dummy in used],
        "split": [count for dummy, count in used],
        "cpu_only": not used,
    }
    return {"gpu_layers": entries, "final": final}


def _decision(case, version, table):
    gpus = gpus_of(case)
    options = {"num_gpu": case["num_gpu"], "num_ctx": case["num_ctx"], "num_batch": case["num_batch"]}
    requests = []
    decided = versions.rules_for("%d.%d.%d" % version).decide(
        LoadRequest(
            model(case["model"], table, case.get("projector")),
            tuple(gpus),
            options,
            case["env"],
            version=version,
            residents=({},) if case["other_model_loaded"] else (),
            system=system_of(case),
            runner=_runner(case, requests) if case["kind"] == "ollama_engine" else None,
        )
    )
    got = {"runner_requests": requests}
    if decided.estimate:
        got["estimate"] = {key: getattr(decided.estimate, key) for key in ESTIMATE}
    if decided.hangs:
        return {"hang": True}
    if decided.evicts:
        got.update(error="evict", final={"outcome": "evict"})
    elif decided.error:
        got.update(
            error="layout_num_gpu" if "num_gpu" in decided.error else "system_memory", final={"outcome": "error"}
        )
    else:
        uuids = [gpus[place]["uuid"] for place in decided.gpus]
        if decided.ranges is not None:
            got.update(_placed([(uuid, numbers) for uuid, (dummy, numbers) in zip(uuids, decided.ranges)]))
            if decided.graphs is not None:
                got["reported_memory"] = _reported(decided, gpus)
        else:
            used = [(uuid, count) for uuid, count in zip(uuids, decided.layers) if count or case["era"] == "A"]
            final = {
                "outcome": "load",
                "gpus": [uuid for uuid, dummy in used],
                "split": [count for dummy, count in used],
                "cpu_only": not used,
            }
            got.update(final=final, gpu_layers=[])
        if case["era"] == "A":
            got["final"]["n_gpu_layers"] = decided.gpu_layers
    return got


def _reported(decided, gpus):
    """Bytes per GPU as the llama engine of 0.12.11 and later reports them: weights, cache and graph.

    What no GPU has is the CPU's.
    """
    graph = {gpus[place]["uuid"]: size for place, size in decided.graphs.items()}
    weights, cache = ({uuid: 0 for uuid in graph} for dummy in range(2))
    left = {"weights": sum(decided.weights), "cache": sum(decided.cache)}
    for place, numbers in decided.ranges:
        uuid = gpus[place]["uuid"]
        weights[uuid] = sum(decided.weights[number] for number in numbers)
        cache[uuid] = sum(decided.cache[number] for number in numbers)
        left["weights"] -= weights[uuid]
        left["cache"] -= cache[uuid]
    return {"weights": dict(weights, cpu=left["weights"]), "cache": dict(cache, cpu=left["cache"]), "graph": graph}


def _runner(case, requests):
    """The simulated runner of the recordings: sizes where layers are, a graph on every GPU with a layer."""
    memory = case["memory"]
    sizes = [weights + cache for weights, cache in zip(memory["weights"], memory["cache"])]

    def run(operation, found):
        graphs, enough = {place: 0 for place in range(len(case["gpus"]))}, True
        for place, numbers in found:
            if numbers:
                graphs[place] = memory["graph_base"] + (memory["graph_output"] if len(sizes) - 1 in numbers else 0)
                enough = (
                    enough and sum(sizes[number] for number in numbers) + graphs[place] <= memory["real_free"][place]
                )
        success = operation == "fit" or enough
        requests.append({"layers": layout.layers_of(found), "operation": operation, "success": success})
        measured = layout.Sizes(sizes, graphs, memory["input_weights"] + memory["cpu_graph"])
        return measured_layout.Report(success, measured)

    return run
