# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama up to 0.24: every recorded decision of the releases' own functions, what settings do, and the known faults."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import faults, v0_30, versions
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    common_rules,
    engines,
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.shapes import Decision

from tests.oracle import before_0_30 as recorded
from tests.oracle import models, replay
from tests.unit.plugins.module_utils.releases.loads import GIB, decide, effective, gpus, model

ROWS = {"A": 406, "B": 474, "C": 532, "D": 808}
OLDER = (v0_5, v0_11_5, v0_11_11, v0_12_11)


def rows(part, kind=None):
    lines = (recorded.RECORDINGS / ("era-%s.jsonl" % part)).read_text().splitlines()
    return [row for row in map(json.loads, lines) if kind in (None, row["case"]["kind"])]


@pytest.mark.parametrize("part", sorted(ROWS))
def test_every_recorded_decision_is_made_alike(part):
    count, differing = replay.replay(models.RECORDINGS / ("era-%s.jsonl" % part))
    assert count == ROWS[part]
    assert differing == []


@pytest.mark.parametrize("part", sorted(ROWS))
def test_the_replayer_notices_one_layer_more_and_one_byte_less_free(part, tmp_path):
    row = next(row for row in rows(part) if len(row["result"].get("final", {}).get("split") or []) > 1)
    changed = json.loads(json.dumps(row))
    changed["result"]["final"]["split"][0] += 1
    other = json.loads(json.dumps(row))
    for gpu in other["case"]["gpus"]:
        gpu["free"] = gpu["min_memory"]
    path = tmp_path / ("era-%s.jsonl" % part)
    path.write_text("".join(json.dumps(one) + "\n" for one in (row, changed, other)))
    assert [number for number, dummy, dummy_got in replay.replay(path)[1]] == [2, 3]


def test_a_table_of_models_beside_the_file_wins(tmp_path):
    row = next(
        row
        for row in rows("A")
        if row["case"]["model"] == "llama3.1-8b" and row["result"].get("estimate", {}).get("layers")
    )
    (tmp_path / "era-A.jsonl").write_text(json.dumps(row) + "\n")
    table = json.loads((recorded.RECORDINGS / recorded.MODELS).read_text())
    table["models"]["llama3.1-8b"]["block_bytes"] = [1] * 32
    (tmp_path / recorded.MODELS).write_text(json.dumps(table))
    assert len(replay.replay(tmp_path / "era-A.jsonl")[1]) == 1


@pytest.mark.parametrize(
    "rules, spread",
    [
        (v0_5, [11, 11, 11]),
        (v0_11_5, [11, 11, 11]),
        (v0_11_11, [11, 11, 11]),
        (v0_12_11, [12, 12, 9]),
    ],  # counts until 0.12.10, then bytes: the output layer is large
)
def test_a_model_that_fits_one_gpu_takes_one_and_all_with_spread(rules, spread):
    facts, host, options = model("llama3.1-8b"), gpus(24, 24, 24), {"num_ctx": 4096}
    alone = decide(rules, facts, host, options)
    assert (alone.outcome, alone.gpus, alone.layers) == ("single", [0], [33])
    everywhere = decide(rules, facts, host, options, {"OLLAMA_SCHED_SPREAD": "1"})
    assert (everywhere.outcome, everywhere.layers) == ("split", spread)


def test_all_gpus_are_taken_until_0_11_4_and_the_fewest_later():
    facts, host, options = model("llama3.3-70b"), gpus(30, 30, 30, 30), {"num_ctx": 4096}
    assert decide(v0_5, facts, host, options).gpus == [0, 1, 2, 3]
    for rules in (v0_11_5, v0_11_11, v0_12_11):
        assert decide(rules, facts, host, options).gpus == [0, 1]


def test_num_gpu_999_takes_all_gpus_by_accident_until_0_12_10():
    facts, host, options = model("llama3.1-8b"), gpus(24, 24), {"num_ctx": 4096, "num_gpu": 999}
    for rules in (v0_5, v0_11_5, v0_11_11):
        decided = decide(rules, facts, host, options)
        assert decided.gpus == [0, 1]
        assert sum(decided.layers) == 33
        assert "num_gpu_takes_all_gpus" in [fault["name"] for fault in decided.faults]
        assert decide(rules, facts, host, dict(options, num_gpu=33)).gpus == [0]
    assert decide(v0_12_11, facts, host, options).gpus == [0]
    assert decide(v0_11_11, model("llama4-scout"), gpus(79, 79), options).gpus == [0]


def test_fewer_layers_than_asked_for_are_partly_on_the_cpu():
    facts = model("llama3.1-8b")
    for rules in OLDER:
        decided = decide(rules, facts, gpus(24), {"num_ctx": 4096, "num_gpu": 10})
        assert (decided.outcome, decided.layers) == ("partial", [10])
        assert decide(rules, facts, gpus(24), {"num_ctx": 4096, "num_gpu": 0}).outcome == "cpu"
        assert decide(rules, facts, [], {"num_ctx": 4096}).outcome == "cpu"
        assert decide(rules, facts, gpus(0.5), {"num_ctx": 4096}).outcome == "cpu"


def test_the_vectors_of_the_reference_with_the_layers_of_both_old_and_new_rules():
    facts, options = model("llama4-scout"), {"num_ctx": 4096}
    assert decide(v0_12_11, facts, gpus(47, 47), options).layers == [24, 25]
    assert decide(v0_12_11, facts, gpus(79, 79), options).layers == [49]
    assert decide(v0_12_11, facts, gpus(79, 79), options, {"OLLAMA_SCHED_SPREAD": "1"}).layers == [24, 25]
    assert sum(decide(v0_12_11, facts, gpus(23, 23), options).layers) < 49


@pytest.mark.parametrize("rules", OLDER)
def test_gpu_overhead_is_left_free_on_every_gpu(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    free = (
        next(size for size in range(40, 200) if decide(rules, facts, gpus(size / 8), options).outcome == "single") / 8
    )
    assert decide(rules, facts, gpus(free), options, {"OLLAMA_GPU_OVERHEAD": str(GIB)}).outcome == "partial"
    assert decide(rules, facts, gpus(free + 1), options, {"OLLAMA_GPU_OVERHEAD": str(GIB)}).outcome == "single"


def test_from_0_12_11_ollama_predicts_what_it_then_reports():
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    alone = decide(v0_12_11, facts, gpus(24, 24), options)
    assert alone.predicted_bytes == sum(alone.weights) + sum(alone.cache) + alone.graphs[0]
    both = decide(v0_12_11, facts, gpus(24, 24), options, {"OLLAMA_SCHED_SPREAD": "1"})
    assert both.graphs[0] == both.graphs[1] == alone.graphs[0]
    assert both.predicted_bytes == alone.predicted_bytes + both.graphs[1]


@pytest.mark.parametrize("rules", (v0_5, v0_11_5, v0_11_11))
def test_the_estimate_must_be_below_the_free_memory(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    found = decide(rules, facts, gpus(24), options).estimate
    needed = found.vram_size - found.graph + max(found.graph_full, found.graph_partial)
    exact = [{"uuid": "GPU-0", "total_bytes": 24 * GIB, "free_bytes": needed}]
    assert decide(rules, facts, exact, options).layers == [32]
    exact[0]["free_bytes"] += 1
    assert decide(rules, facts, exact, options).layers == [33]


def test_until_0_11_4_ollama_never_counts_less_than_2048_tokens():
    facts = model("llama3.1-8b")
    small, least, more = (decide(v0_5, facts, gpus(24), {"num_ctx": tokens}) for tokens in (512, 2048, 4096))
    assert small.context_length == 512
    assert small.predicted_bytes == least.predicted_bytes < more.predicted_bytes


@pytest.mark.parametrize("rules", OLDER)
def test_a_gpu_that_another_process_fills_is_passed_over(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    assert decide(rules, facts, gpus(2, 24), options).gpus == [1]
    assert decide(rules, facts, gpus(2, 24), options, {"CUDA_VISIBLE_DEVICES": "0"}).gpus in ([0], [])


@pytest.mark.parametrize("rules", OLDER)
def test_a_second_model_evicts_where_it_does_not_fit_whole(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    assert decide(rules, facts, gpus(24), options, residents=[{}]).outcome == "single"
    decided = decide(rules, facts, gpus(4), options, residents=[{}])
    assert (decided.outcome, decided.evicts, decided.gpus) == ("evict", True, [])


@pytest.mark.parametrize("rules", OLDER)
def test_too_little_system_memory_is_an_error_in_one_sentence(rules):
    system = {"free_bytes": GIB, "swap_bytes": 0}
    decided = decide(rules, model("llama3.3-70b"), gpus(8), {"num_ctx": 4096}, system=system)
    assert decided.outcome is None
    assert "system memory" in decided.error


def test_quantized_cache_needs_flash_attention():
    facts, host, options = model("llama3.1-8b"), gpus(24), {"num_ctx": 131072}
    for rules in (v0_5, v0_11_5, v0_11_11, v0_12_11):
        plain = decide(rules, facts, host, options)
        ignored = decide(rules, facts, host, options, {"OLLAMA_KV_CACHE_TYPE": "q8_0"})
        used = decide(rules, facts, host, options, {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"})
        assert plain.layers == ignored.layers
        assert sum(used.layers) > sum(plain.layers)


def test_default_contexts_by_version():
    assert common_rules.default_context((0, 6, 6), []) == 2048
    assert common_rules.default_context((0, 15, 4), gpus(80)) == 4096
    assert [common_rules.default_context((0, 15, 5), gpus(size)) for size in (8, 24, 48)] == [4096, 32768, 262144]
    assert common_rules.default_context((0, 24, 0), gpus(24), 2 * GIB) == 4096
    assert decide(v0_12_11, model("llama3.1-8b"), gpus(24, 24), version=(0, 15, 5)).context_length == 131072


def test_slots_by_version():
    facts = model("llama3.1-8b")
    assert decide(v0_5, facts, gpus(24), {"num_ctx": 2048}, version=(0, 6, 6)).parallel == 4
    assert decide(v0_5, facts, gpus(24), {"num_ctx": 2048}, version=(0, 9, 6)).parallel == 2
    assert decide(v0_5, facts, gpus(24), {"num_ctx": 2048}).parallel == 1
    assert decide(v0_12_11, model("llama3.2-vision-11b"), gpus(24), {}, {"OLLAMA_NUM_PARALLEL": "4"}).parallel == 1


def test_a_forced_num_gpu_on_full_gpus_hangs_and_says_so():
    row = next(row for row in rows("D", "llama_engine") if row["result"].get("hang"))
    case = row["case"]
    for version in ((0, 12, 11), (0, 24, 0)):
        decided = decide(
            v0_12_11,
            model(case["model"]),
            recorded.gpus_of(case),
            {"num_gpu": case["num_gpu"], "num_ctx": case["num_ctx"]},
            case["env"],
            version=version,
        )
        assert decided.hangs and decided.outcome is None
        assert "num_gpu" in decided.error
        assert "endless_search" in [fault["name"] for fault in decided.faults]


def test_a_gpu_smaller_than_a_layer_gets_everything_before_0_14():
    facts, host, options = model("llama3.3-70b"), gpus(0.3, 60), {"num_ctx": 4096}
    wrapped = decide(v0_12_11, facts, host, options, version=(0, 13, 5))
    assert (wrapped.gpus, wrapped.layers) == ([0], [81])
    assert [fault["name"] for fault in wrapped.faults] == ["wrap_around"]
    mended = decide(v0_12_11, facts, host, options, version=(0, 14, 0))
    assert (mended.gpus, mended.layers, mended.faults) == ([1], [81], [])


def test_the_projector_is_not_counted_from_0_12_11_on():
    plain, seeing = model("llama3.1-8b"), model("llama3.1-8b", "proj-llava")
    host, options = gpus(8), {"num_ctx": 4096}
    with_projector = decide(v0_12_11, seeing, host, options)
    assert with_projector.layers == decide(v0_12_11, plain, host, options).layers
    assert [fault["name"] for fault in with_projector.faults] == ["projector_not_counted"]
    assert (
        decide(v0_11_11, seeing, host, options).predicted_bytes > decide(v0_11_11, plain, host, options).predicted_bytes
    )


def test_known_faults_belong_to_their_versions():
    names = {
        version: [fault["name"] for fault in faults.known_faults(version)]
        for version in ((0, 11, 4), (0, 12, 10), (0, 13, 5), (0, 24, 0), (0, 32, 15))
    }
    assert names[(0, 11, 4)] == ["context_not_clamped", "num_gpu_takes_all_gpus"]
    assert "endless_search" in names[(0, 12, 10)]
    assert "wrap_around" in names[(0, 13, 5)]
    assert names[(0, 24, 0)] == ["endless_search", "projector_not_counted"]
    assert names[(0, 32, 15)] == ["one_gpu_engines_not_seen"]
    assert all(fault["text"] and fault["remedy"] for version in names for fault in faults.known_faults(version))


def test_own_engine_is_predicted_where_no_runner_measures():
    for name in ("gemma3-12b", "gpt-oss-20b", "llama4-scout", "qwen3-32b"):
        facts = model(name)
        decided = decide(v0_12_11, facts, gpus(79, 79), {"num_ctx": 8192})
        assert (decided.outcome, sum(decided.layers)) == ("single", facts.block_count + 1)
        split = decide(v0_12_11, facts, gpus(79, 79), {"num_ctx": 8192}, {"OLLAMA_SCHED_SPREAD": "1"})
        assert split.outcome == "split" and min(split.layers) > facts.block_count // 3
        partial = decide(v0_12_11, facts, gpus(6), {"num_ctx": 8192})
        assert partial.outcome == "partial"


def test_the_rules_of_every_version_answer_the_same_questions():
    for rules in OLDER:
        decided = decide(rules, model("llama3.1-8b"), gpus(24), {"num_ctx": 4096})
        assert isinstance(decided, Decision)
        assert set(v0_30.EFFECTS) <= set(rules.EFFECTS)
    firsts = [rules.FIRST_VERSION for rules in versions.RULES]
    assert firsts == sorted(firsts, reverse=True)


@pytest.mark.parametrize(
    "architecture, before, first",
    # server/sched.go, load: the list of architectures served one request at a time, at the release tags.
    [
        ("qwen3vl", (0, 12, 6), (0, 12, 7)),
        ("lfm2", (0, 15, 4), (0, 15, 5)),
        ("qwen35", (0, 17, 0), (0, 17, 1)),
        ("nemotron_h_omni", (0, 21, 2), (0, 22, 0)),
    ],
)
def test_architectures_are_served_one_request_at_a_time_by_version(architecture, before, first):
    facts = dataclasses.replace(model("llama3.1-8b"), architecture=architecture)
    found = [
        effective(version, facts, gpus(24), {"num_ctx": 4096}, {"OLLAMA_NUM_PARALLEL": "4"}).parallel
        for version in (before, first)
    ]
    assert found == [4, 1]


def test_flash_attention_on_vulkan_and_on_the_host_by_version():
    # discover/types.go and ml/device.go, FlashAttentionSupported, at the release tags.
    vulkan, host = [{"library": "Vulkan"}], [{"library": "cpu"}]
    assert [engines.flash_on_gpus(vulkan, (0, 12, patch)) for patch in (5, 6, 7, 9, 10)] == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert [engines.flash_on_gpus(host, (0, 11, patch)) for patch in (4, 5)] == [False, True]


def test_a_host_without_gpus_has_no_flash_attention_until_0_11_4():
    facts, options = model("llama3.1-8b"), {"num_ctx": 32768}
    quantized = {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_KV_CACHE_TYPE": "q8_0"}
    plain, asked = (decide(v0_5, facts, [], options, values) for values in ({}, quantized))
    assert (asked.flash_attention, asked.estimate.kv) == ("off", plain.estimate.kv)
    # With GPUs that are only not used the estimate counts on it, and the runner does not get it (llm/server.go, NewLlamaServer).
    unused = decide(v0_5, facts, gpus(24), dict(options, num_gpu=0), quantized)
    assert unused.flash_attention == "off" and unused.estimate.kv < plain.estimate.kv
    assert decide(v0_11_5, facts, [], options, quantized).estimate.kv < plain.estimate.kv


def test_a_load_on_the_host_beside_another_model_evicts_it_where_memory_is_short():
    # server/sched.go, maybeFindCPURunnerToUnload (0.11.4); llm/memory.go, predictServerFit (0.11.7).
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096, "num_gpu": 0}
    short, enough = ({"free_bytes": size * GIB, "swap_bytes": 64 * GIB} for size in (4, 64))
    beside = [{}]
    assert [
        decide(v0_5, facts, gpus(24), options, residents=beside, system=system).outcome for system in (short, enough)
    ] == ["evict", "cpu"]
    assert decide(v0_5, facts, gpus(24), options, system=short).outcome == "cpu"
    assert [
        decide(v0_11_5, facts, gpus(24), options, residents=beside, system=enough, version=(0, 11, patch)).outcome
        for patch in (6, 7)
    ] == ["evict", "cpu"]


@pytest.mark.parametrize("rules", OLDER)
def test_no_more_models_than_may_be_loaded(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    found = [
        decide(rules, facts, gpus(24), options, {"OLLAMA_MAX_LOADED_MODELS": value}, residents=[{}]).outcome
        for value in ("1", "2", "")
    ]
    assert found == ["evict", "single", "single"]
    assert decide(rules, facts, gpus(24), options, residents=[{}] * 3).evicts


def test_the_least_context_of_the_estimator_by_version():
    # llm/memory.go, EstimateGPULayers: for every model from 0.7.1, before with a projector only.
    facts, seeing = model("llama3.1-8b"), model("llama3.1-8b", "proj-llava")
    options = {"num_ctx": 512}
    kv = [
        decide(v0_5, facts, gpus(24), options, {"OLLAMA_NUM_PARALLEL": "1"}, version=version).estimate.kv
        for version in ((0, 7, 0), (0, 7, 1))
    ]
    assert kv[1] == 4 * kv[0]
    assert decide(v0_5, seeing, gpus(24), options, {"OLLAMA_NUM_PARALLEL": "1"}, version=(0, 7, 0)).estimate.kv == kv[1]


def test_a_context_of_0_is_4_tokens_and_variables_that_came_later_are_not_read():
    facts = model("llama3.1-8b")
    assert decide(v0_12_11, facts, gpus(24), {"num_ctx": 0}).context_length == 4
    found = [
        effective(version, facts, gpus(24), {}, {"OLLAMA_CONTEXT_LENGTH": "8192"}).context
        for version in ((0, 5, 12), (0, 5, 13))
    ]
    assert found == [2048, 8192]


def test_what_0_7_0_alone_keeps_free_and_gemma3_before_its_window():
    # llm/memory.go at 0.6.8, 0.7.0 and 0.7.1; fs/ggml/ggml.go at 0.6.2 and 0.6.3.
    facts = model("llama3.1-8b")
    options, one = {"num_ctx": 4096}, {"OLLAMA_NUM_PARALLEL": "1"}
    sizes = {
        version: decide(v0_5, facts, gpus(24), options, one, version=version).estimate.vram_size
        for version in ((0, 6, 8), (0, 7, 0), (0, 7, 1))
    }
    largest = max(facts.embedding_bytes, facts.output_bytes) - facts.layers[0].weight_bytes
    assert sizes[(0, 6, 8)] == sizes[(0, 7, 1)] == sizes[(0, 7, 0)] - largest
    whole, windowed = (
        decide(v0_5, model("gemma3-12b"), gpus(24), options, one, version=(0, 6, patch)).estimate.kv for patch in (2, 3)
    )
    assert whole > 2 * windowed


def test_a_release_says_itself_which_models_it_serves_one_request_at_a_time():
    facts = dataclasses.replace(model("llama3.1-8b"), architecture="qwen3vl")
    assert [
        versions.release_of(version).one_request_at_a_time(facts)
        for version in ("0.12.6", "0.12.7", "0.24.0", "0.32.15")
    ] == [False, True, True, True]
    assert versions.release_of("0.12.6").one_request_at_a_time(
        dataclasses.replace(facts, architecture="bert", capabilities=["embedding"])
    )


@pytest.mark.parametrize(
    "name, version, own",
    # model/models, model.Register, at the release tags; a mixture of experts of architecture llama is not supported there.
    [
        ("llama3.1-8b", (0, 11, 11), True),
        ("gemma2-27b", (0, 12, 10), True),
        ("mixtral-8x7b", (0, 12, 10), False),
        ("phi3-14b", (0, 24, 0), False),
        ("deepseek-v2-lite-16b", (0, 12, 2), False),
        ("deepseek-v2-lite-16b", (0, 12, 3), True),
    ],
)
def test_ollamas_own_engine_is_asked_for_models_that_it_knows(name, version, own):
    def engine(environment):
        return effective(version, model(name), gpus(24), {"num_ctx": 4096}, environment).own_engine

    assert not engine({})
    assert engine({"OLLAMA_NEW_ENGINE": "1"}) is own
