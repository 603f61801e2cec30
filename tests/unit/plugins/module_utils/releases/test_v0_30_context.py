# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How many tokens of context a model gets from Ollama 0.30 on."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import v0_30_context, versions

from tests.oracle import models
from tests.unit.plugins.module_utils.releases.loads import gpus, request

MIB = 1024 * 1024
GIB = 1024 * MIB


def test_a_model_that_sees_images_gets_2048_tokens_at_least():
    # server/sched.go, getRunner.
    plain, seeing = (
        models.facts("llama3.1-8b"),
        dataclasses.replace(models.facts("llama3.1-8b"), capabilities=["completion", "vision"]),
    )
    assert [v0_30_context.effective_context(model, {"num_ctx": 0}, {}, []) for model in (plain, seeing)] == [4, 2048]
    unknown = dataclasses.replace(plain, context_length=None)
    assert v0_30_context.effective_context(unknown, {"num_ctx": 8192}, {}, []) == 8192


@pytest.mark.parametrize(
    "sizes, overhead_gib, context",
    [((24,), 2, 4096), ((24,), 25, 262144), ((24, 24), 25, 262144), ((24, 48), 30, 4096), ((24, 48), 12, 262144)],
)
def test_an_overhead_above_the_memory_wraps_around(sizes, overhead_gib, context):
    # server/routes.go adds `gpu.TotalMemory - envconfig.GpuOverhead()` in unsigned numbers.
    environment = {"OLLAMA_GPU_OVERHEAD": str(overhead_gib * GIB)}
    assert v0_30_context.default_context(gpus(*sizes), environment) == context
    total = versions.release_of("0.24.0").decide(request(models.facts("llama3.3-70b"), gpus(*sizes), {}, environment))
    assert total.context_length == min(context, 131072)


def test_the_default_depends_on_the_memory_of_all_visible_gpus():
    assert v0_30_context.default_context(gpus(23.9, 23.9), {}) == 262144
    assert v0_30_context.default_context(gpus(23.9), {}) == 32768
    assert v0_30_context.default_context(gpus(8), {}) == 4096
