# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the releases to 0.24 share: context, slots, limits and the form of a decision."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import common_rules, v0_5, v0_12_11

from tests.unit.plugins.module_utils.releases.loads import GIB, OLDER, decide, effective, gpus, model


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


@pytest.mark.parametrize("rules", OLDER)
def test_no_more_models_than_may_be_loaded(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    found = [
        decide(rules, facts, gpus(24), options, {"OLLAMA_MAX_LOADED_MODELS": value}, residents=[{}]).outcome
        for value in ("1", "2", "")
    ]
    assert found == ["evict", "single", "single"]
    assert decide(rules, facts, gpus(24), options, residents=[{}] * 3).evicts


def test_a_context_of_0_is_4_tokens_and_variables_that_came_later_are_not_read():
    facts = model("llama3.1-8b")
    assert decide(v0_12_11, facts, gpus(24), {"num_ctx": 0}).context_length == 4
    found = [
        effective(version, facts, gpus(24), {}, {"OLLAMA_CONTEXT_LENGTH": "8192"}).context
        for version in ((0, 5, 12), (0, 5, 13))
    ]
    assert found == [2048, 8192]


def test_fewer_layers_than_asked_for_are_partly_on_the_cpu():
    facts = model("llama3.1-8b")
    for rules in OLDER:
        decided = decide(rules, facts, gpus(24), {"num_ctx": 4096, "num_gpu": 10})
        assert (decided.outcome, decided.layers) == ("partial", [10])
        assert decide(rules, facts, gpus(24), {"num_ctx": 4096, "num_gpu": 0}).outcome == "cpu"
        assert decide(rules, facts, [], {"num_ctx": 4096}).outcome == "cpu"
        assert decide(rules, facts, gpus(0.5), {"num_ctx": 4096}).outcome == "cpu"


@pytest.mark.parametrize("rules", OLDER)
def test_gpu_overhead_is_left_free_on_every_gpu(rules):
    facts, options = model("llama3.1-8b"), {"num_ctx": 4096}
    free = (
        next(size for size in range(40, 200) if decide(rules, facts, gpus(size / 8), options).outcome == "single") / 8
    )
    assert decide(rules, facts, gpus(free), options, {"OLLAMA_GPU_OVERHEAD": str(GIB)}).outcome == "partial"
    assert decide(rules, facts, gpus(free + 1), options, {"OLLAMA_GPU_OVERHEAD": str(GIB)}).outcome == "single"


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
