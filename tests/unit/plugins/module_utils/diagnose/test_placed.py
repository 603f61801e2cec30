# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about where models are, each from what servers and engines show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import ServerGpu, ServerLog

from tests.unit.plugins.module_utils.diagnose.builders import (
    GIB,
    PCI,
    UNIT,
    A,
    B,
    engine,
    found,
    host,
    inventory,
    server,
)


def runs(made=None, environment=None, **changes):
    """A host whose server has this engine."""
    return host(servers=(server(environment, engines=(made or engine(),), **changes),))


def logs(kind, line):
    return ServerLog(gpus=[ServerGpu("CUDA"), ServerGpu("CUDA")], problems={kind: (line, 2)})


FEW = {"layers": 33, "layers_total": 49}
NO_MEMORY = "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"
LARGE = {"name": "llama3:70b", "context_length": 262144, "size": 9, "size_vram": 5}
TIER = ServerLog(gpus=[ServerGpu("CUDA"), ServerGpu("CUDA")], default_context=262144)
CASES = {
    "started_without_gpu": (runs(log=ServerLog(gpus=[])), ["no GPU", "Restart"]),
    "server_misses_gpu": (
        runs(log=ServerLog(gpus=[ServerGpu("CUDA", PCI[A])])),
        ["found 1 of the 2", "GPU 1 (RTX A6000)"],
    ),
    "model_on_cpu": (runs(engine(held={})), ["49/49", "llama3:70b"]),
    "layers_on_cpu": (runs(engine(log=FEW)), ["33 of 49", "37.0 GiB", "4096"]),
    "layers_limited": (runs(engine("-ngl", "33", log=FEW)), ["num_gpu 33", "33 of 49"]),
    "fits_on_one_gpu": (runs(engine("--split-mode", "none"), {"OLLAMA_SCHED_SPREAD": None}), ["one of 2", "replicate"]),
    "main_gpu_given": (runs(engine("--split-mode", "none", "--main-gpu", "0")), ["main_gpu", "OLLAMA_SCHED_SPREAD"]),
    "unbalanced_split": (runs(engine(held={A: 18 * GIB, B: 2 * GIB})), ["90 %", "10 %"]),
    "context_of_the_tier": (runs(engine(log=FEW, loaded=LARGE), log=TIER), ["262144", "OLLAMA_CONTEXT_LENGTH"]),
    "draft_takes_memory": (runs(engine("--spec-type", "draft-mtp", log=FEW)), ["--spec-type draft-mtp"]),
    "out_of_gpu_memory": (runs(log=logs("out_of_gpu_memory", NO_MEMORY)), ["2 times", "cudaMalloc failed"]),
    "cuda_error": (runs(log=logs("cuda_error", "CUDA error: an illegal memory access")), ["illegal memory access"]),
    "host_memory_short": (runs(log=logs("host_memory_short", "disabling mmap")), ["disabling mmap"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding
    assert finding.subject == UNIT


def test_a_process_whose_memory_is_unknown_proves_nothing():
    listed = [{"pid": 901, "name": "llama-server", "used_bytes": None, "unit": UNIT}]
    facts = inventory(first={"processes": listed})
    assert "model_on_cpu" not in found(host(inventory=facts, servers=(server(engines=(engine(held={}),)),)))
    assert "model_on_cpu" not in found(runs(engine(held=None)))


def test_a_limit_of_all_layers_is_none():
    assert not found(runs(engine("-ngl", "999")))


@pytest.mark.parametrize("share, uneven", [(0.64, False), (0.66, True)])
def test_how_uneven_a_split_may_be(share, uneven):
    held = {A: int(20 * GIB * share), B: int(20 * GIB * (1 - share))}
    assert ("unbalanced_split" in found(runs(engine(held=held)))) is uneven


def test_a_split_that_was_asked_for_or_of_unequal_gpus_is_well():
    held = {A: 18 * GIB, B: 2 * GIB}
    assert not found(runs(engine(held=held), {"LLAMA_ARG_TENSOR_SPLIT": "9,1"}))
    facts = inventory(second={"memory": {"total_bytes": 12 * GIB, "free_bytes": GIB}})
    assert not found(host(inventory=facts, servers=(server(engines=(engine(held=held),)),)))


def test_what_a_plan_wants_is_well():
    plan = {"gpu_uuids": [A, B], "environment": {}, "models": []}
    assert not found(runs(log=logs("host_memory_short", "disabling mmap"), planned=plan))
    assert "out_of_gpu_memory" in found(runs(log=logs("out_of_gpu_memory", NO_MEMORY), planned=plan))
    assert not found(runs(engine("--split-mode", "none", held={A: 20 * GIB}), planned=plan))
    cpu = dict(plan, gpu_uuids=[])
    assert not found(runs(engine(held={}), planned=cpu, log=ServerLog(gpus=[])))


@pytest.mark.parametrize("context", [4096, 8192])
def test_another_context_is_not_of_the_tier(context):
    made = engine(loaded=dict(LARGE, context_length=context))
    assert not found(runs(made, log=TIER))
    assert not found(runs(made, log=replace(TIER, default_context=4096)))
    chosen = engine(loaded=LARGE)
    assert not found(runs(chosen, {"OLLAMA_CONTEXT_LENGTH": "262144"}, log=TIER))
    assert not found(runs(replace(chosen, asked_context=262144), log=TIER)), "its Modelfile asks for it"


@pytest.mark.parametrize(
    ("trained", "context", "kinds"),
    [
        (131072, 131072, {"context_of_the_tier"}),
        (131072, 32768, set()),
        (262144, 262144, {"context_of_the_tier"}),
        (1048576, 262144, {"context_of_the_tier"}),
        (32768, 32768, {"context_of_the_tier"}),
        (8192, 8192, set()),
        (None, 131072, set()),
    ],
)
def test_a_default_beyond_what_a_model_takes_gives_all_that_it_takes(trained, context, kinds):
    made = engine(loaded=dict(LARGE, context_length=context), trained_context=trained)
    told = found(runs(made, log=TIER))
    assert set(told) == kinds
    is_capped = context != 262144
    assert all(("its longest, because the default is 262144" in one.evidence) is is_capped for one in told.values())
