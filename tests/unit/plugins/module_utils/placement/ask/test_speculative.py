# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The option speculative of a model; what cannot be is in placement/test_speculation.py."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask import speculative
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import table

HEADS = table.facts("qwen3.5-27b-mtp")
PLAIN = table.facts("llama3.1-8b")


def tokens(facts, option=None, own=None, **parameters):
    facts = dataclasses.replace(facts, parameters=own)
    return speculative.tokens({"speculative": option}, facts, parameters, "m")


def test_without_the_option_the_parameters_decide():
    assert tokens(PLAIN) == (None, {})
    assert tokens(HEADS, draft_num_predict=2) == (2, {"draft_num_predict": 2})
    assert tokens(HEADS, own={"draft_num_predict": 3}) == (3, {})
    assert tokens(HEADS, own={"draft_num_predict": 3}, draft_num_predict=0) == (0, {"draft_num_predict": 0})


def test_the_option_becomes_the_parameter():
    assert tokens(HEADS, {"type": "mtp"}) == (4, {"draft_num_predict": 4})
    assert tokens(HEADS, {"type": "mtp", "tokens": "7"}, temperature=1.0)[1] == {
        "draft_num_predict": 7,
        "temperature": 1.0,
    }


def test_nothing_is_written_to_switch_off_what_cannot_be():
    assert tokens(PLAIN, {"type": "none"}) == (0, {})
    assert tokens(HEADS, {"type": "none", "tokens": 0}) == (0, {"draft_num_predict": 0})


def test_keys_of_an_argument_specification_may_be_null():
    assert speculative.check_option({"speculative": {"type": None, "tokens": None}}, "m")
    assert tokens(PLAIN, {"type": None, "tokens": None}) == (None, {})


def test_heads_of_the_draft_count_where_there_is_one():
    with_draft = dataclasses.replace(HEADS, draft=PLAIN)
    with pytest.raises(PlacementError, match="no heads"):
        tokens(with_draft, {"type": "mtp"})
    assert tokens(dataclasses.replace(PLAIN, draft=HEADS), {"type": "mtp"})[0] == 4
