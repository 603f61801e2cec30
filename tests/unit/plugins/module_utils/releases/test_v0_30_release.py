# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A release from 0.30 on answers what a plan asks."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.shapes import PlannedLayers, PlannedLoad

from tests.oracle import models
from tests.unit.plugins.module_utils.releases.loads import GIB, gpus, request

RELEASE = versions.release_of("0.32.15")


def planned(**fields):
    return PlannedLayers(
        **dict(
            dict(
                outcome="split",
                tensor_split=None,
                reserve_bytes=0,
                headroom_bytes=GIB,
                projector_bytes=0,
                cpu_allowed=False,
                forced=False,
            ),
            **fields,
        )
    )


@pytest.mark.parametrize(
    "fields, settings",
    [
        (dict(tensor_split=(20, 13)), {"LLAMA_ARG_TENSOR_SPLIT": "20,13"}),
        (dict(outcome="cpu"), {}),
        (dict(forced=True), {}),
        (dict(cpu_allowed=True), {}),
        (dict(cpu_allowed=True, headroom_bytes=2 * GIB, projector_bytes=GIB), {"LLAMA_ARG_FIT_TARGET": "3072"}),
        (dict(), {"LLAMA_ARG_FIT_TARGET": "512"}),
        (dict(cpu_allowed=True, headroom_bytes=GIB // 2), {"LLAMA_ARG_FIT_TARGET": "256"}),
        (dict(forced=True, cpu_experts="all"), {"LLAMA_ARG_CPU_MOE": "1"}),
        (dict(forced=True, cpu_experts=7), {"LLAMA_ARG_N_CPU_MOE": "7"}),
        (dict(outcome="partial"), {}),
    ],
)
def test_layers_are_distributed_by_variables_of_the_engine(fields, settings):
    assert RELEASE.layer_settings(planned(**fields)) == settings


def test_a_model_evicts_others_where_it_takes_more_than_four_fifths_of_what_they_leave():
    load = request(models.facts("llama3.1-8b"), gpus(24), {"num_ctx": 4096}, {"OLLAMA_NUM_PARALLEL": "1"})
    last, small, large = (PlannedLoad(load, (size * GIB,), (33,), 33) for size in (6, 4, 18))
    assert not RELEASE.evicts(last, [small])
    assert RELEASE.evicts(last, [small, large])


def test_gpus_that_no_library_is_for_are_refused():
    assert RELEASE.refused_gpu([3, 5], "580.95.05").reason == "Ollama needs compute capability 5.0, it has 3.5"
    assert not RELEASE.refused_gpu([8, 6], "540.1").lasting
    assert versions.release_of("0.30.10").refused_gpu([8, 6], "540.1") is None
    assert RELEASE.refused_gpu([8, 6], None) is None
    assert RELEASE.refused_gpu([7, 0], "580.95.05", "cuda_v13").lasting


def test_the_libraries_of_a_gpu():
    assert RELEASE.gpu_libraries([8, 6], "580.95.05") == ("cuda_v13", "cuda_v12")
    assert RELEASE.gpu_libraries([8, 6], "570.1") == ("cuda_v12",)
    assert RELEASE.gpu_libraries(None, None, "cuda_v12") == ("cuda_v12",)
    assert RELEASE.library_names() == ["cuda_jetpack5", "cuda_jetpack6", "cuda_v12", "cuda_v13"]
    assert versions.release_of("0.24.0").library_names() == []


def test_a_quantized_cache_needs_flash_attention():
    assert RELEASE.refuses_cache_type("q8_0", "off")
    assert not RELEASE.refuses_cache_type("q8_0", "auto")
    assert not RELEASE.refuses_cache_type("f16", "off")


@pytest.mark.parametrize(
    "version, facts, parallel, variables, drafted, rows",
    [
        ("0.32.15", {}, 1, {}, 0, 1),
        ("0.32.15", {}, 4, {"LLAMA_ARG_KV_UNIFIED": "1"}, 0, 4),
        ("0.35.1", {}, 3, {}, 0, 3),
        ("0.30.1", {}, 2, {}, 5, 12),
        ("0.32.15", {}, 2, {"LLAMA_ARG_POOLING": "none"}, 0, 2),
        ("0.32.15", {}, 2, {"LLAMA_ARG_POOLING": "mean"}, 0, None),
        ("0.32.15", {"capabilities": ["embedding"]}, 1, {}, 0, None),
        ("0.32.15", {"architecture": "t5"}, 1, {}, 0, None),
        ("0.30.0", {}, 1, {}, 0, None),
        ("0.24.0", {}, 1, {}, 0, None),
    ],
)
def test_the_engine_has_logits_for_its_slots_or_for_every_token(version, facts, parallel, variables, drafted, rows):
    model = models.facts("llama3.1-8b", **facts)
    assert versions.release_of(version).outputs(model, parallel, variables, drafted) == rows


def test_an_embedding_model_is_started_to_embed_from_0_30_on():
    embeds = models.facts("llama3.1-8b", capabilities=["embedding"])
    assert [versions.release_of(version).embeds(embeds) for version in ("0.24.0", "0.30.0", "0.32.15")] == [
        False,
        True,
        True,
    ]
    assert not RELEASE.embeds(models.facts("llama3.1-8b"))
