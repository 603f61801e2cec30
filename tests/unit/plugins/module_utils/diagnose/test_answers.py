# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about answers, each from the answer that provokes it; answers of models give none."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import Answer

from tests.unit.plugins.module_utils.diagnose.builders import found, host

WORDS = "The sea is wide and it keeps its own time .".split()


def answer(tokens=None, server="one.service", **changes):
    """An answer with a log-probability for each token."""
    words = [(" " + word, -0.5, (" " + word, " x")) for word in WORDS] if tokens is None else tokens
    text = "".join(word for word, _value, _others in words)
    return Answer(
        **dict({"server": server, "model": "llama3", "digest": "d", "text": text, "tokens": tuple(words)}, **changes)
    )


def asked(*answers):
    return host(answers=tuple(answers))


def vector(numbers, server="one.service", **changes):
    return answer([], server, vector=tuple(numbers), width=4, **changes)


OTHER = answer([(" Once", -0.1, (" Once", " In"))] * 2, "two.service")
CASES = {
    "answer_no_number": (asked(answer([("!", float("nan"), ())])), ["nan", "GGML_CUDA_P2P"]),
    "answer_one_token": (asked(answer([("!", -0.1, ("!",))] * 32)), ["'!', 32 times"]),
    "answer_unprintable": (asked(answer([(chr(0xE000 + n), -0.1, ()) for n in range(9)])), ["9 characters, 9 of"]),
    "replicas_disagree": (asked(answer(), OTHER), ["' The'", "' Once'", "two.service"]),
    "vector_wrong": (asked(vector([0.1, 0.2, 0.3])), ["3 numbers", "has 4"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    (finding,) = [found(evidence)[kind]]
    assert all(word in finding.evidence + finding.remedy for word in words), finding
    assert finding.subject == "one.service"


@pytest.mark.parametrize("value", [None, float("inf"), float("-inf"), 0.5])
def test_log_probabilities_that_are_none(value):
    assert found(asked(answer([(" a", -0.1, ()), (" b", value, ())])))["answer_no_number"].confidence == "certain"


def test_zeros_are_what_ollama_writes_for_no_number():
    zeros = [(" %d" % number, 0, ()) for number in range(9)]
    assert found(asked(answer(zeros)))["answer_no_number"].confidence == "likely"
    assert not found(asked(answer([*zeros, (" a", -0.01, ())])))


def test_an_error_of_json_about_no_number():
    assert "answer_no_number" in found(asked(answer([], error="json: unsupported value: NaN")))
    assert not found(asked(answer([], error="model not found in Nanterre")))


def test_answers_without_log_probabilities_are_judged_by_their_text():
    assert "answer_one_token" in found(asked(answer([], text="!!!!!!!!!!!!")))
    assert not found(asked(answer([], text="Das Meer ist weit. 海は広い。 Море — это 🌊…")))


def test_a_short_answer_and_a_cut_letter_are_well():
    assert not found(asked(answer([("!", -0.1, ("!",))] * 7)))
    assert not found(asked(answer([], text="A sentence about the sea \ufffd")))


def test_replicas_that_begin_alike_or_nearly_so_are_well():
    assert not found(asked(answer(), answer(server="two.service")))
    near = answer([(" x", -0.6, (" The", " x"))], "two.service")
    assert not found(asked(answer(), near))
    assert not found(asked(answer(), answer(OTHER.tokens, "two.service", digest="other model")))
    assert not found(asked(answer(), answer([], "two.service", text="x")))


@pytest.mark.parametrize("numbers", [[], [0, 0, 0, 0], [1, 2, 3, float("nan")], [1, 2, 3, None], [1, 2, 3, "x"]])
def test_vectors_that_are_none(numbers):
    assert "vector_wrong" in found(asked(vector(numbers)))


def test_vectors_of_replicas():
    one = [0.5, -0.5, 0.5, 0.5]
    assert not found(asked(vector(one), vector([0.5001, -0.5, 0.4999, 0.5], "two.service")))
    assert set(found(asked(vector(one), vector([0.5, 0.5, -0.5, 0.5], "two.service")))) == {"replicas_disagree"}
