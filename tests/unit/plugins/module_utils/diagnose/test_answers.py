# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the evidence says of answers are findings of the diagnosis; the rules are tested in evidence/test_answers.py."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.diagnose.builders import found, host
from tests.unit.plugins.module_utils.evidence.test_answers import OTHER, answer, vector


def asked(*answers):
    return host(answers=tuple(answers))


NO_NUMBER = asked(answer([("!", float("nan"), ())]))
CASES = {
    "answer_no_number": (NO_NUMBER, ["nan", "GGML_CUDA_P2P"]),
    "answer_one_token": (asked(answer([("!", -0.1, ())] * 32)), ["'!', 32 times"]),
    "answer_unprintable": (asked(answer([(chr(0xE000 + n), -0.1, ()) for n in range(9)])), ["9 characters, 9 of"]),
    "replicas_disagree": (asked(OTHER, answer()), ["' The'", "' Once'", "two.service"]),
    "vector_wrong": (asked(vector([0.1, 0.2, 0.3])), ["3 numbers", "has 4"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    (finding,) = [found(evidence)[kind]]
    assert all(word in finding.evidence + finding.remedy for word in words), finding
    assert finding.subject == "one.service"


def test_how_sure_it_is():
    assert found(NO_NUMBER)["answer_no_number"].confidence == "certain"
    assert found(asked(OTHER, answer()))["replicas_disagree"].confidence == "likely"
    assert not found(asked(answer(), answer(server="two.service")))
