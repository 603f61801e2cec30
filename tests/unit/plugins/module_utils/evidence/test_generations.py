# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models generate at the same time, and which answers are those of a model."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import generations

from tests.unit.plugins.module_utils.evidence.builders import GIB, A, B, plan
from tests.unit.plugins.scripted_server import recorded

ANSWER = {"model": "llama4:scout", "response": "x", "done": True, "eval_count": 64}


def test_generations_share_neither_a_gpu_nor_an_instance():
    first = plan({A: 5 * GIB})["instances"][0]
    second = copy.deepcopy(plan({B: 5 * GIB})["instances"][0])
    second["name"] = "gpu1"
    third = copy.deepcopy(first)
    third["name"] = "gpu0b"
    third["models"].append(dict(copy.deepcopy(third["models"][0]), predicted={"devices": []}))
    names = [
        [instance["name"] for instance, model in together] for together in generations.rounds([first, second, third])
    ]
    # gpu0b's first model shares GPU A with gpu0-1; its second one, on the CPU, shares no GPU and runs with the others.
    assert names == [["gpu0-1", "gpu1", "gpu0b"], ["gpu0b"]]


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({}, None),
        ({"model": "LLAMA4:Scout"}, None),
        ({"eval_count": 0}, "no token"),
        ({"eval_count": None}, "no token"),
        ({"eval_count": True}, "no token"),
        ({"done": False}, "not complete"),
        ({"done": "true"}, "not complete"),
        ({"model": "other:latest"}, "of other:latest"),
        ({"model": ["x"]}, "of"),
    ],
)
def test_an_answer_is_complete_and_has_a_token_of_the_model(changes, problem):
    found = generations.answer_problem(dict(ANSWER, **changes), "llama4:scout")
    assert (found is None) if problem is None else (problem in found)


def test_the_recorded_answers_are_answers():
    answers = [
        (entry["request"]["body"]["model"], entry["response"]["body"])
        for entry in recorded().values()
        if isinstance(entry.get("response"), dict)
        and isinstance(entry["response"].get("body"), dict)
        and entry["response"]["body"].get("eval_count")
        and entry["response"]["body"].get("done")
    ]
    assert all(generations.answer_problem(answer, model) is None for model, answer in answers)
