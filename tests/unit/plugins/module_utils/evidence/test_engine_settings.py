# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The settings of the engine are compared with the plan, each as a check of its own."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import engine_settings
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import (
    ARGUMENTS,
    NAME,
    checks,
    failed,
    findings,
    observations,
    plan,
)


def engine(*more, without=(), environment=(), **changes):
    """The engine of the plan with other arguments: more at the end, `without` a flag and its value."""
    words = list(ARGUMENTS)
    for flag in without:
        place = words.index(flag)
        del words[place : place + 2]
    own = observations().instances["gpu0-1"].models[NAME].engine
    return dataclasses.replace(own, arguments=words + list(more), environment=dict(environment), **changes)


def judged(engine_seen, environment=(), parameters=None, **model):
    wanted = plan()
    wanted["instances"][0]["environment"].update(environment)
    wanted["instances"][0]["models"][0].update(model)
    wanted["instances"][0]["models"][0]["parameters"].update(parameters or {})
    return check_plan(wanted, observations(engine=engine_seen))


DIFFERENCES = [
    ("context", engine("-c", "16384")),
    ("slots", engine("-np", "2")),
    ("slots", engine(without=["-np"], environment={"LLAMA_ARG_N_PARALLEL": "4"})),
    ("cache_type_k", engine("--cache-type-k", "q8_0")),
    ("cache_type_v", engine("--cache-type-v", "q8_0")),
    ("cache_type_v", engine(environment={"LLAMA_ARG_CACHE_TYPE_V": "q4_0"})),
    ("ubatch", engine("-ub", "2048")),
    ("batch", engine("-b", "2048")),
    ("gpu_layers", engine("-ngl", "48")),
    ("gpu_layers", engine(without=["-ngl"])),
    ("tensor_split", engine("--tensor-split", "40,9")),
    ("tensor_split", engine(environment={"LLAMA_ARG_TENSOR_SPLIT": "40,9"})),
    ("split_mode", engine("--split-mode", "none", "--main-gpu", "0")),
    ("elsewhere", engine("--no-kv-offload")),
    ("elsewhere", engine("-ot", "exps=CPU")),
    ("elsewhere", engine(environment={"LLAMA_ARG_N_CPU_MOE": "10"})),
]


@pytest.mark.parametrize("name, seen", DIFFERENCES, ids=["%s-%d" % (row[0], at) for at, row in enumerate(DIFFERENCES)])
def test_every_difference_is_a_check_of_its_own(name, seen):
    result = judged(seen)
    assert failed(result) == ["setting " + name]
    assert findings(result) == ["far_from_predicted"]
    assert name in result.diagnosis[0].evidence and "oad the model again" in result.diagnosis[0].remedy


LORA = [{"digest": "sha256:" + "a" * 64}, {"digest": "sha256:" + "b" * 64}]
FILES = ["--lora", "/s/blobs/sha256-" + "a" * 64, "--lora", "/s/blobs/sha256-" + "b" * 64]


@pytest.mark.parametrize(
    "planned, arguments, right",
    [
        ([], [], True),
        (LORA, FILES, True),
        ([LORA[0], {"digest": None}], FILES, True),  # read from a server, which does not tell it
        ([], FILES[:2], False),
        (LORA, FILES[:2], False),
        (LORA, FILES[2:] + FILES[:2], False),
        ([LORA[0]], FILES, False),
    ],
)
def test_the_adapters_of_the_engine_are_those_of_the_plan(planned, arguments, right):
    result = judged(engine(*arguments), adapters=planned)
    assert failed(result) == ([] if right else ["setting adapters"])


def test_an_engine_as_planned_has_all_checks():
    names = [name for name in checks(judged(engine())) if name.startswith("setting ")]
    assert names == [
        "setting " + name
        for name in (
            "context slots cache_type_k cache_type_v ubatch batch gpu_layers tensor_split split_mode elsewhere"
        ).split()
    ]
    assert judged(engine()).verdict == "pass"


def test_what_the_plan_sets_otherwise_has_to_be_there():
    quantized = {"kv_cache_type": "q8_0"}
    assert judged(engine("--cache-type-k", "q8_0", "--cache-type-v", "q8_0"), **quantized).verdict == "pass"
    assert failed(judged(engine(), **quantized)) == ["setting cache_type_k", "setting cache_type_v"]
    split = {"LLAMA_ARG_TENSOR_SPLIT": "25,24"}
    assert "setting tensor_split" not in failed(judged(engine(environment=split), split))
    assert "setting tensor_split" not in failed(judged(engine("-ts", "50/48"), split))
    assert "setting tensor_split" in failed(judged(engine(), split))
    two = judged(engine("-c", "65536", "-np", "2"), parallel=2)
    assert two.verdict == "pass"
    moe = {"LLAMA_ARG_N_CPU_MOE": "10"}
    assert judged(engine(environment=moe), moe).verdict == "pass"
    for flash, word in (("1", "on"), ("0", "off")):
        assert judged(engine("--flash-attn", word), {"OLLAMA_FLASH_ATTENTION": flash}).verdict == "pass"
        other = judged(engine(), {"OLLAMA_FLASH_ATTENTION": flash})
        assert failed(other) == ["setting flash_attention"]


def test_a_batch_that_the_plan_does_not_set_may_be_smaller():
    """Ollama lowers it by the memory that is free when it loads."""
    smaller = engine("-b", "512", "-ub", "512")
    assert judged(smaller).verdict == "pass"
    assert failed(judged(smaller, parameters={"num_batch": 1024})) == ["setting ubatch", "setting batch"]


def test_without_num_gpu_the_engine_may_be_told_no_number_or_enough():
    wanted = plan()["instances"][0]
    model = dict(wanted["models"][0], parameters={})
    for seen, fits in ((engine(without=["-ngl"]), True), (engine("-ngl", "49"), True), (engine("-ngl", "20"), False)):
        found = {one.name: one.matches for one in engine_settings.compare(wanted, model, seen)}
        assert found["gpu_layers"] is fits


@pytest.mark.parametrize("changes", [{"arguments": []}, {"environment": None}])
def test_settings_that_cannot_be_read_are_not_proven(changes):
    result = judged(dataclasses.replace(engine(), **changes))
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    assert "settings" in result.diagnosis[0].evidence and "root" in result.diagnosis[0].remedy


def test_an_engine_before_llama_server_has_other_arguments():
    old = dataclasses.replace(
        engine(), arguments=["/x/ollama", "runner", "--model", "/m/blobs/sha256-1", "--ctx-size", "4096"]
    )
    assert engine_settings.compare(plan()["instances"][0], plan()["instances"][0]["models"][0], old) == []


HEADS = {"type": "draft-mtp", "tokens": 4, "draft": False}
SPEC = ("--spec-type", "draft-mtp", "--spec-draft-n-max", "4")


@pytest.mark.parametrize(
    "planned, seen, wrong",
    [
        (None, engine(), []),
        (None, engine(*SPEC), ["setting speculation"]),
        (HEADS, engine(*SPEC), []),
        (HEADS, engine(), ["setting speculation", "setting drafted"]),
        (HEADS, engine(*SPEC[:3], "8"), ["setting drafted"]),
        (HEADS, engine(*SPEC, "--spec-draft-model", "/x"), ["setting draft"]),
        (dict(HEADS, draft=True), engine(*SPEC, "--spec-draft-model", "/x"), []),
        (dict(HEADS, draft=True), engine(*SPEC), ["setting draft"]),
    ],
)
def test_what_proposes_tokens_is_compared(planned, seen, wrong):
    assert failed(judged(seen, speculation=planned)) == wrong


def test_a_plan_of_before_says_nothing_of_it():
    assert failed(judged(engine(*SPEC))) == []
