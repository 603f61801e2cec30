# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why one GPU carries all, by what the engine was started with: no cause is named that is not there."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    MIB,
    NAME,
    WITHOUT_LOG,
    A,
    B,
    findings,
    log,
    observations,
    plan,
)

NONE = ["--split-mode", "none", "--main-gpu", "0"]


def found(arguments=(), environment=None, parameters=None, planned=None, runner=None):
    """(evidence, remedy) of the finding."""
    seen = observations(held={A: 65 * GIB, B: 300 * MIB}, parameters=parameters)
    model = seen.instances["gpu0-1"].models[NAME]
    model.engine = model.engine and dataclasses.replace(
        model.engine,
        arguments=runner or [*model.engine.arguments, *arguments],
        environment=None if environment is None else dict(environment),
    )
    wanted = plan()
    wanted["instances"][0]["environment"].update(planned or {})
    for finding in check_plan(wanted, seen).diagnosis:
        if finding.finding == "one_gpu_carries_all":
            return finding.evidence, finding.remedy
    return None


ONE, BOTH = {"CUDA0": 240 * MIB}, {"CUDA0": 120 * MIB, "CUDA1": 120 * MIB}


@pytest.mark.parametrize(
    "held, logged, finding",
    [
        ((540, 300), ONE, "one_gpu_carries_all"),
        ((540, 300), {"CUDA0": 240 * MIB, "CUDA1": 10 * MIB}, "one_gpu_carries_all"),  # a compute buffer alone
        ((800, None), ONE, "one_gpu_carries_all"),
        ((540, 300), BOTH, "layers_on_cpu"),
        ((540, 300), None, "layers_on_cpu"),
        ((540, 300), {"CUDA0": 240 * MIB, "CUDA9": 240 * MIB}, "layers_on_cpu"),
        ((300, 300), ONE, "layers_on_cpu"),
        ((305, 300), ONE, "layers_on_cpu"),
        ((300, 540), ONE, "layers_on_cpu"),
        ((553, None), ONE, "layers_on_cpu"),
    ],
)
def test_one_gpu_carries_a_small_model_where_the_log_and_nvml_say_so(held, logged, finding):
    """The planned context is 553 MiB, more than it is here: by that alone, 540 MiB are a context."""
    wanted = plan({A: 120 * MIB, B: 120 * MIB})
    for device in wanted["instances"][0]["models"][0]["predicted"]["devices"]:
        device.update(overhead_bytes=553 * MIB, total_bytes=673 * MIB)
    compute = {name: min(size, 10 * MIB) for name, size in (logged or {}).items()}
    evidence = {"log": log(logged, dry_run={}, compute=compute)} if logged else WITHOUT_LOG
    bytes_held = {uuid: size and size * MIB for uuid, size in zip((A, B), held)}
    result = check_plan(wanted, observations(held=bytes_held, **evidence))
    assert result.verdict == "fail" and findings(result)[0] == finding


@pytest.mark.parametrize(
    "given, seen, remedy",
    [
        (
            dict(arguments=NONE, parameters={"main_gpu": 0}, environment={"OLLAMA_SCHED_SPREAD": "1"}),
            "its engine was started with --split-mode none, because the model has main_gpu 0",
            "Remove main_gpu from the parameters of " + NAME,
        ),
        (
            dict(arguments=NONE, parameters={}, environment={"OLLAMA_SCHED_SPREAD": "1"}),
            "although OLLAMA_SCHED_SPREAD=1 is set: the request that loaded it has main_gpu",
            "options of the client",
        ),
        (
            dict(arguments=NONE, environment={"OLLAMA_SCHED_SPREAD": "fales"}),
            "although OLLAMA_SCHED_SPREAD=fales is set: the model or the request has main_gpu",
            "options of the client",
        ),
        (
            dict(
                arguments=NONE,
                parameters={},
                environment={"OLLAMA_SCHED_SPREAD": "false"},
                planned={"OLLAMA_SCHED_SPREAD": ""},
            ),
            "--split-mode none, and OLLAMA_SCHED_SPREAD is not set",
            "Set OLLAMA_SCHED_SPREAD=1 in the environment of",
        ),
        (
            dict(arguments=NONE, parameters={}, environment={}, planned={"OLLAMA_SCHED_SPREAD": "1"}),
            "--split-mode none, and OLLAMA_SCHED_SPREAD is not set",
            "the plan sets OLLAMA_SCHED_SPREAD=1, and this process runs without it",
        ),
        (
            dict(environment={"LLAMA_ARG_SPLIT_MODE": "none"}),
            "LLAMA_ARG_SPLIT_MODE=none in the environment of",
            "Take LLAMA_ARG_SPLIT_MODE out",
        ),
        (
            dict(environment={"LLAMA_ARG_TENSOR_SPLIT": "1,0"}),
            "LLAMA_ARG_TENSOR_SPLIT=1,0 in the environment of",
            "Take LLAMA_ARG_TENSOR_SPLIT out",
        ),
        (
            dict(environment={"LLAMA_ARG_TENSOR_SPLIT": "0.00/1"}),
            "LLAMA_ARG_TENSOR_SPLIT=0.00/1",
            "Take LLAMA_ARG_TENSOR",
        ),
        (dict(environment={"LLAMA_ARG_TENSOR_SPLIT": "3/1"}), "nothing in its arguments", "Look at journalctl"),
        (
            dict(
                arguments=NONE,
                parameters={},
                environment={"OLLAMA_SCHED_SPREAD": "'f'"},
                planned={"OLLAMA_SCHED_SPREAD": ""},
            ),
            "--split-mode none, and OLLAMA_SCHED_SPREAD is not set",
            "Set OLLAMA_SCHED_SPREAD=1",
        ),
        (dict(environment={"LLAMA_ARG_DEVICE": "CUDA0"}), "LLAMA_ARG_DEVICE=CUDA0", "Take LLAMA_ARG_DEVICE out"),
        (
            dict(arguments=["--tensor-split", "49,0"], planned={"OLLAMA_SCHED_SPREAD": ""}),
            "a --tensor-split for one GPU",
            "Set OLLAMA_SCHED_SPREAD=1",
        ),
        (dict(environment=None), "and its environment cannot be read", "Look at journalctl"),
        (
            dict(environment={"OLLAMA_SCHED_SPREAD": "1", "CUDA_VISIBLE_DEVICES": A}),
            "its engine sees one GPU (CUDA_VISIBLE_DEVICES=GPU-aaaaaaaa), because its server has found no other one",
            "Compare CUDA_VISIBLE_DEVICES of systemctl cat ollama@gpu0-1.service with the plan, then restart",
        ),
        (dict(environment={"CUDA_VISIBLE_DEVICES": "1"}), "(CUDA_VISIBLE_DEVICES=1)", "Compare CUDA_VISIBLE_DEVICES"),
        (dict(environment={"CUDA_VISIBLE_DEVICES": A + "," + B}), "nothing in its arguments", "Look at journalctl"),
        (
            dict(arguments=NONE, parameters={"main_gpu": 0}, environment={"CUDA_VISIBLE_DEVICES": A}),
            "because the model has main_gpu 0",
            "Remove main_gpu",
        ),
        (
            dict(runner=["ollama", "runner", "--model", "/m/blobs/sha256-1"], environment={"CUDA_VISIBLE_DEVICES": A}),
            "nothing in its arguments",
            "Look at journalctl",
        ),
        (
            dict(environment={"OLLAMA_SCHED_SPREAD": "1", "LLAMA_ARG_TENSOR_SPLIT": "1,1", "LLAMA_ARG_DEVICE": "a,b"}),
            "nothing in its arguments or environment asks for one GPU",
            "Look at journalctl",
        ),
    ],
)
def test_the_cause_is_what_the_engine_was_started_with(given, seen, remedy):
    evidence, what_to_do = found(**given)
    assert seen in evidence and remedy in what_to_do
    if "main_gpu" not in seen:
        assert "main_gpu" not in evidence + what_to_do
