# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why one GPU carries all, by what the engine was started with: no cause is named that is not there."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import GIB, MIB, NAME, A, B, observations, plan

NONE = ["--split-mode", "none", "--main-gpu", "0"]


def found(arguments=(), environment=None, parameters=None, planned=None):
    """(evidence, remedy) of the finding."""
    seen = observations(held={A: 65 * GIB, B: 300 * MIB}, parameters=parameters)
    model = seen.instances["gpu0-1"].models[NAME]
    model.engine = model.engine and dataclasses.replace(
        model.engine,
        arguments=[*model.engine.arguments, *arguments],
        environment=None if environment is None else dict(environment),
    )
    wanted = plan()
    wanted["instances"][0]["environment"].update(planned or {})
    for finding in check_plan(wanted, seen).diagnosis:
        if finding.finding == "one_gpu_carries_all":
            return finding.evidence, finding.remedy
    return None


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
