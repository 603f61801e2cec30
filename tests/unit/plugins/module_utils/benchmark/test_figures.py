# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Median, spread and rates of requests, worked out by hand."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.figures import (
    Batch,
    Request,
    levels,
    measured,
    planned,
    spread,
)


def test_median_and_the_middle_half():
    assert spread([5, 1, 3, 2, 4]) == {"median": 3, "q1": 2, "q3": 4, "repeats": 5}
    assert spread([2.0]) == {"median": 2, "q1": 2, "q3": 2, "repeats": 1}
    assert spread([1, None, 3]) == {"median": 2, "q1": 1.5, "q3": 2.5, "repeats": 2}
    assert spread([None]) is None and spread([]) is None


def test_one_disturbed_repeat_does_not_move_them():
    assert spread([10, 10, 10, 10, 500])["median"] == spread([10, 10, 10, 10, 500])["q3"] == 10


@pytest.mark.parametrize("slots, streams", [(0, [1]), (1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_how_many_requests_run_at_the_same_time(slots, streams):
    assert levels(slots) == streams


def test_a_request_has_the_speed_of_the_servers_clock():
    answer = {"prompt_eval_count": 7, "eval_count": 50, "eval_duration": 500_000_000}
    assert Request.of(answer, 0.1, 0.7) == Request(7, 50, 0.1, 0.7, 100.0)


@pytest.mark.parametrize("tokens, speed", [(1, None), (7, None), (8, 8e6)])
def test_a_short_answer_tells_no_speed(tokens, speed):
    """The clock of the engine starts at the first token."""
    assert Request.of({"eval_count": tokens, "eval_duration": 1000}, 0.1, 0.7).tokens_per_second == speed


@pytest.mark.parametrize("value", [None, 0, -5, True, "x"])
def test_what_a_server_does_not_say_is_unknown(value):
    found = Request.of({"eval_count": value, "eval_duration": value, "prompt_eval_count": value}, 0.1, 0.2)
    assert found.tokens_per_second is None and found.tokens == 0 and found.prompt_tokens == 0


def test_rates_of_a_batch_count_all_its_requests():
    one, other = Request(10, 30, 0.1, 1.0, 33.0), Request(12, 70, 0.3, 2.0, 41.0)
    found = measured([Batch([one, other], 2.0), Batch([one, other], 4.0, disturbed=True)])
    assert found["total_tokens_per_second"]["median"] == (50 + 25) / 2
    assert found["requests_per_minute"]["median"] == (60 + 30) / 2
    assert found["tokens_per_second"]["median"] == 37.0 and found["tokens_per_second"]["repeats"] == 4
    assert found["first_token_seconds"]["median"] == 0.2
    assert (found["prompt_tokens"], found["disturbed"]) == (11, 1)


def test_what_a_plan_says_of_its_models():
    model = {"name": "tiny", "create_as": "tiny-x", "context_length": 4096, "parallel": 2, "kv_cache_type": None}
    instances = [{"gpu_uuids": ["a", "b"], "models": [model]}, {"models": [model, {"name": "other"}]}]
    assert planned({"instances": instances}) == {
        "tiny-x:latest": {"instances": 2, "GPUs": 2, "context length": 4096, "slots": 2},
        "other:latest": {"instances": 1, "GPUs": 0},
    }
    assert planned({}) == {}
