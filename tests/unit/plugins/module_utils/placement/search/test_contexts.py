# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Contexts that are chosen automatically: the largest that fit."""

from __future__ import annotations

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import TWO_4090, plan, wanted


def test_an_automatic_context_does_not_follow_every_megabyte():
    before = plan(TWO_4090, wanted("llama3.3-70b", context_length="auto"))
    tokens = before["instances"][0]["models"][0]["context_length"]
    roomier = hosts.inventory((24564, 24200), (24564, 24200))
    after = plan(roomier, wanted("llama3.3-70b", context_length="auto"), applied_plan=before)
    assert after["instances"][0]["models"][0]["context_length"] == tokens
    assert (
        plan(roomier, wanted("llama3.3-70b", context_length="auto"))["instances"][0]["models"][0]["context_length"]
        > tokens
    )


def test_auto_context_is_the_largest_that_fits():
    result = plan(TWO_4090, wanted("llama3.3-70b", context_length="auto"))
    tokens = result["instances"][0]["models"][0]["context_length"]
    assert 8192 < tokens < 131072
    assert plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens))["feasible"]
    assert not plan(TWO_4090, wanted("llama3.3-70b", context_length=tokens + 256))["feasible"]


def test_an_automatic_context_may_be_less_than_the_default():
    tight = hosts.inventory((24564, 22800), (24564, 22800))
    assert not plan(tight, wanted("llama3.3-70b", context_length=8192))["feasible"]
    result = plan(tight, wanted("llama3.3-70b", context_length="auto"))
    tokens = result["instances"][0]["models"][0]["context_length"]
    assert result["feasible"] and 2048 <= tokens < 8192
    assert not plan(tight, wanted("llama3.3-70b", context_length=tokens + 256))["feasible"]


def test_two_automatic_contexts_share_what_there_is():
    entries = [wanted("llama3.1-8b", context_length="auto"), wanted("qwen3-14b", context_length="auto")]
    result = plan(hosts.inventory((24564, 24100)), *entries)
    found = [model["context_length"] for instance in result["instances"] for model in instance["models"]]
    assert result["feasible"] and min(found) > 8192 and max(found) < 3 * min(found)
