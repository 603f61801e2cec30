# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Answers that are kept by all that they depend on."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import kinds
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.remembered import Remembered

from tests.oracle import table


def counting(most):
    """(answers of a function that says how often it was asked, model, its tensors)"""
    asked = []

    def compute(model, found, layer_devices, device_count, load, moved):
        asked.append(load)
        return [len(asked)] * device_count

    model = table.facts("qwen3-14b")
    return Remembered(compute, most), model, kinds.kinds_of(model)


def test_the_function_is_asked_once_for_what_depends_on_the_same():
    answers, model, found = counting(10)
    slots = [0] * 41
    first = answers.of(model, found, slots, 1, Load(4096), None)
    first.append("of the caller")
    assert answers.of(model, found, tuple(slots), 1, Load(4096), {}) == [1]
    assert answers.of(model, found, slots, 1, Load(8192), None) == [2]
    assert answers.of(model, found, slots, 2, Load(4096), None) == [3, 3]
    assert answers.of(model, found, [None] + slots[1:], 1, Load(4096), None) == [4]
    assert answers.of(model, found, slots, 1, Load(4096), {0: (7, None)}) == [5]
    assert answers.of(dataclasses.replace(model, vocab_size=1), found, slots, 1, Load(4096), None) == [6]
    assert answers.of(model, found, slots, 1, Load(4096), None) == [1]


def test_no_more_answers_are_kept_than_may_be():
    answers, model, found = counting(2)
    for context in (4096, 8192, 16384):
        answers.of(model, found, [0] * 41, 1, Load(context), None)
    assert answers.of(model, found, [0] * 41, 1, Load(16384), None) == [3]
    assert answers.of(model, found, [0] * 41, 1, Load(4096), None) == [4]
