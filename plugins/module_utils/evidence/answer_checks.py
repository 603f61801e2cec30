# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Checks of what a model has answered, and of what its replicas on the host have. Pure.

What is not told is not required: of a release without log-probabilities, and of a model that cannot be asked, it is
known why nothing more can be said. A fault that is seen fails the model all the same.
"""

from __future__ import annotations

from . import answers
from .comparison import Comparison
from .diagnosis import Diagnosis
from .shapes import Check

_VECTOR, _TEXT = "a vector of finite numbers", "the answer of a model"
_WITHOUT = "by its text; the server tells no log-probabilities (Ollama does from 0.12.11 on)"


def check_answer(comparison: Comparison) -> list[Check]:
    """Return whether the answer can be that of a model, and whether the replicas on the host answer alike."""
    answer = comparison.observed.answer
    if answer is None:
        why = comparison.observed.not_generated
        required = not why or comparison.observed.vectors_only
        return [Check("answer", None, _TEXT, why or "unknown", required)]
    expected, found = _TEXT if answer.vector is None else _VECTOR, answers.faults(answer)
    if found:
        checks = [Check("answer", False, expected, found[0].seen)]
    elif answer.error or not (answer.tokens or answer.vector):
        checks = [Check("answer", None, expected, answer.error or _WITHOUT, required=False)]
    else:
        checks = [Check("answer", True, expected, expected)]
    beside = comparison.host.replicas.get((answer.server, answer.model))
    if beside is None:
        return checks
    alike, seen = "as its replicas answer", beside.fault.seen if beside.fault else None
    if not beside.is_known:
        return checks + [Check("replicas", None, alike, "their answers cannot be compared", required=False)]
    return checks + [Check("replicas", seen is None, alike, seen or alike)]


def explain_answer(comparison: Comparison) -> list[Diagnosis]:
    """Return what is wrong with the answer of a model, [] where nothing is known to be."""
    answer = comparison.observed.answer
    if answer is None:
        return []
    beside = comparison.host.replicas.get((answer.server, answer.model))
    found = answers.faults(answer) + ([beside.fault] if beside and beside.fault else [])
    return [Diagnosis(one.finding, "%s %s" % (comparison.name, one.seen), answers.REMEDY) for one in found]
