# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama's choice of GPUs from 0.30 on, against the recorded loads of 0.32.15, and llama.cpp's fit."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import engine_start, llama_fit, v0_30

from tests.oracle import models, replay
from tests.unit.plugins.module_utils.releases.loads import choose, decide, request

MIB = 1024 * 1024
GIB = 1024 * MIB


def gpus(*free_mib):
    return [
        {"uuid": "GPU-%d" % index, "total_bytes": size * MIB, "free_bytes": size * MIB}
        for index, size in enumerate(free_mib)
    ]


def test_every_recorded_load_is_decided_alike():
    rows, differing = replay.replay(models.RECORDINGS / "ollama-0.32.15-placement.jsonl")
    assert rows == 1217
    assert differing == []


def test_every_engine_row_is_within_the_tolerance():
    rows, differing = replay.replay(models.RECORDINGS / "engine-rows.json")
    assert (rows, differing) == (624, [])


def test_every_fit_of_the_engine_is_the_same():
    rows, differing = replay.replay(models.RECORDINGS / "engine-fit.jsonl")
    assert (rows, differing) == (280, [])


def test_the_replayer_reports_a_row_that_differs(tmp_path, capsys):
    line = (models.RECORDINGS / "ollama-0.32.15-placement.jsonl").read_text().splitlines()[0]
    changed = tmp_path / "x-placement.jsonl"
    changed.write_text(line.replace('"c":4096', '"c":4097') + "\n")
    assert replay.main([str(changed)]) == 1
    assert "x-placement.jsonl: equal 0 of 1" in capsys.readouterr().out


def test_one_gpu_up_to_eighty_percent_else_all():
    model = models.facts("llama3.1-8b")
    predicted = v0_30.predicted_bytes(model, 4096)
    assert predicted == model.file_bytes + 2 * 32 * 8 * 128 * 4096 * 2
    enough = -(-predicted * 100 // 80)
    one = [{"uuid": "a", "free_bytes": enough}, {"uuid": "b", "free_bytes": enough - 10}]
    assert v0_30.choose_gpus(one, predicted, {}, {})[0] == [0]
    assert v0_30.choose_gpus([dict(gpu, free_bytes=enough - 2) for gpu in one], predicted, {}, {})[0] == [0, 1]
    assert v0_30.choose_gpus(one, predicted, {}, {"OLLAMA_SCHED_SPREAD": "1"})[0] == [0, 1]
    assert v0_30.choose_gpus(one, predicted, {"main_gpu": 1}, {"OLLAMA_SCHED_SPREAD": "1"})[:2] == ([1], 0)
    assert v0_30.choose_gpus(one, predicted, {"num_gpu": 999}, {})[0] == [0]


def test_layers_without_kv_heads_count_as_one_head():
    model = models.facts("llama3.1-8b", head_count_kv=[0, 8] * 16)
    assert v0_30.predicted_bytes(model, 4096) == model.file_bytes + 2 * 32 * 1 * 128 * 4096 * 2


def test_gpu_overhead_changes_nothing_of_a_load_whose_context_is_given():
    model = models.facts("llama3.1-8b")
    plain = decide(v0_30, model, gpus(24100, 24100), {"num_ctx": 4096})
    assert decide(v0_30, model, gpus(24100, 24100), {"num_ctx": 4096}, {"OLLAMA_GPU_OVERHEAD": "99000000000"}) == plain


def test_fit_fills_the_last_gpu_first_where_the_margin_is_violated():
    # Recorded: engine-fit, build 11669.
    model = models.facts("llama3.3-70b")
    fitted = llama_fit.fit(model, [16000 * MIB, 16000 * MIB], Load(131072, ubatch=1024, cache_type="q8_0"))
    assert fitted.changed and fitted.layers == [19, 18]
    fitted = llama_fit.fit(
        models.facts("deepseek-r1-14b"), [size * MIB for size in (20000, 20000, 8000, 8000)], Load(131072, ubatch=2048)
    )
    assert fitted.layers == [5, 27, 9, 8]
    assert not llama_fit.fit(model, [49000 * MIB, 49000 * MIB], Load(8192)).changed
    options = llama_fit.FitOptions(gpu_layers=999)
    assert not llama_fit.fit(model, [16000 * MIB, 16000 * MIB], Load(8192), options).changed


def test_flash_attention_is_a_matter_of_the_gpu_that_the_model_goes_to():
    host = [dict(gpu, compute_capability=[major, 0]) for gpu, major in zip(gpus(24100, 12000), (8, 5))]
    model = models.facts("llama3.1-8b")
    assert choose(model, host, {"num_ctx": 16384}).flash_attention == "auto"
    old = choose(model, host, {"num_ctx": 16384}, {"CUDA_VISIBLE_DEVICES": "1"})
    assert (old.flash_attention, old.batch) == ("off", 512)
    small = [dict(host[1], free_bytes=8 * GIB)]
    assert choose(model, small, {"num_ctx": 16384}).batch == 256
    # constrainedCUDAWithoutFlashAttention: nothing free counts as not known, then the total counts.
    assert engine_start.batch_size(GIB, 16384, [dict(host[1], free_bytes=0)], "off") == (512, 0)
    assert engine_start.batch_size(GIB, 16384, [dict(host[1], library="Vulkan")], "off") == (1024, 768 * MIB)


def test_an_embedding_model_has_a_batch_of_its_own():
    # server/routes.go, shouldApplyEmbeddingBatchDefault; llm/llama_server.go, embeddingBatchSize.
    model = dataclasses.replace(models.facts("llama3.1-8b"), capabilities=["embedding"])
    asked = ({"num_ctx": 8192}, {"num_ctx": 512}, {"num_batch": 4096, "num_ctx": 1024})
    batches = [choose(model, gpus(24100), options).batch for options in asked]
    assert batches == [2048, 512, 1024]


def test_a_gpu_that_shares_the_hosts_memory_has_no_more_than_the_host():
    # server/sched.go, availableMemoryForGPU.
    shared = [dict(gpu, integrated=True) for gpu in gpus(64000, 64000)]
    model = models.facts("llama3.1-8b")
    assert choose(model, shared, {"num_ctx": 4096}).single_gpu
    assert not choose(model, shared, {"num_ctx": 4096}, system={"free_bytes": 4 * GIB}).single_gpu


def test_the_fit_counts_logits_as_the_release_s_engine_has_them():
    model, options = models.facts("llama3.1-8b"), {"num_ctx": 8192, "num_batch": 2048}
    load = Load(8192, ubatch=2048, outputs=1)
    needed = estimate.estimate(model, [1], load).devices[0].engine_bytes + llama_fit.MARGIN_BYTES
    fits, does_not = gpus(-(-needed // MIB)), gpus(needed // MIB - 1)
    assert decide(v0_30, model, fits, options).outcome == "single"
    assert decide(v0_30, model, does_not, options).outcome == "partial"
    # Before 0.30.1 there is room for the logits of every token of a batch.
    assert decide(v0_30, model, fits, options, version=(0, 30, 0)).outcome == "partial"


@pytest.mark.parametrize(
    "num_ctx, context, batch",
    [(1, 4, 1), (3, 4, 3), (0, 4, 4), (-5, 4, 4), (4, 4, 4), (512, 512, 512), (8192, 8192, 2048)],
)
def test_the_batch_of_an_embedding_model_follows_the_context_as_asked(num_ctx, context, batch):
    facts = dataclasses.replace(models.facts("llama3.1-8b"), capabilities=["embedding"])
    decision = v0_30.choose(request(facts, gpus(24576), {"num_ctx": num_ctx}, {}))
    assert (decision.context_length, decision.batch) == (context, batch)
    asked = v0_30.choose(request(facts, gpus(24576), {"num_ctx": num_ctx, "num_batch": 2}, {}))
    assert asked.batch == 2


@pytest.mark.parametrize(
    "capabilities, num_ctx, parallel, batch",
    [
        (["completion", "embedding"], 8192, 4, 2048),
        (["completion", "embedding"], 600, 4, 600),
        (["embedding", "completion"], 8192, 4, 2048),
        (["embedding"], 600, 1, 600),
        (["completion"], 600, 4, 512),
    ],
)
def test_a_configuration_that_adds_embedding_changes_the_default_batch_alone(capabilities, num_ctx, parallel, batch):
    """--embedding and the one slot depend on the header's pooling type (llama_server.go, sched.go `load`)."""
    facts = dataclasses.replace(models.facts("llama3.1-8b"), capabilities=capabilities)
    decision = v0_30.choose(request(facts, gpus(24576), {"num_ctx": num_ctx}, {"OLLAMA_NUM_PARALLEL": "4"}))
    assert (decision.parallel, decision.batch) == (parallel, batch)
    assert v0_30.embeds(facts) is ("completion" not in capabilities)
    assert (v0_30.outputs(facts, parallel, {}, (0, 32, 15)) is None) is ("completion" not in capabilities)
    asked = v0_30.choose(request(facts, gpus(24576), {"num_ctx": num_ctx, "num_batch": 64}, {}))
    assert asked.batch == 64
