# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What differs between two benchmarks, and what is measured beside what. test_lines.py has how figures differ."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.compared import (
    beside_one,
    beside_untouched,
    differences,
)

SETTINGS = {"instances": 1, "GPUs": 1, "context length": 4096}


def made(release="0.32.15", digest="a" * 64, **models):
    return {"release": release, "plan": {"digest": digest, "models": models or {"tiny": SETTINGS}}}


def one(instances, streams, speed, prompt=32, model="tiny"):
    speeds = {"median": speed, "q1": speed, "q3": speed}
    found = {"model": model, "instances": instances, "prompt": prompt, "streams": streams}
    return dict(found, total_tokens_per_second=speed and speeds)


@pytest.mark.parametrize(
    "earlier, told",
    [
        (made(), []),
        (made(release="0.31.0"), ["Ollama 0.31.0 -> 0.32.15"]),
        (made(digest="b" * 64), ["plan bbbbbbbbbbbb -> aaaaaaaaaaaa"]),
        (
            made(digest="b" * 64, tiny=dict(SETTINGS, **{"context length": 8192}), other=SETTINGS),
            ["plan bbbbbbbbbbbb -> aaaaaaaaaaaa", "other is gone", "context length of tiny 8192 -> 4096"],
        ),
        (made(digest="b" * 64, other=SETTINGS)["plan"] and {"release": "0.32.15"}, []),
    ],
)
def test_release_and_plan_are_named_where_they_differ(earlier, told):
    assert differences(earlier, made()) == told


def test_host_and_length_of_the_answers_are_named_where_they_differ():
    earlier, now = dict(made(), host="gpu-a", tokens=32), dict(made(), host="gpu-b", tokens=64)
    assert differences(earlier, now) == ["host gpu-a -> gpu-b", "most tokens of an answer 32 -> 64"]


@pytest.mark.parametrize(
    "before, now, told",
    [(None, True, "not set -> on"), (True, False, "on -> off"), (1, 0, "1 -> 0"), ("q8_0", None, "q8_0 -> not set")],
)
def test_settings_are_told_in_plain_words(before, now, told):
    earlier = made(digest="b" * 64, tiny={"flash attention": before})
    assert "flash attention of tiny %s" % told in differences(earlier, made(tiny={"flash attention": now}))


def test_a_model_that_is_new():
    assert "other is new" in differences(made(digest="b" * 64), made(tiny=SETTINGS, other=SETTINGS))


def test_replicas_beside_the_best_of_one():
    replicas = one(["gpu0", "gpu1"], 4, 300.0)
    measurements = [one(["gpu0"], 1, 100.0), one(["gpu0"], 2, 150.0), one(["gpu1"], 1, 90.0), replicas]
    measurements += [one(["gpu0"], 2, 500.0, prompt=512), one(["gpu0"], 2, 500.0, model="other")]
    measurements.append(one(["gpu0"], 4, None))
    assert list(beside_one({"measurements": measurements})) == [(replicas, 2.0)]
    assert list(beside_one({"measurements": [replicas]})) == []


def test_the_plan_beside_an_untouched_ollama():
    """Of the plan, all replicas are taken: clients have all of them."""
    both, alone = one(["gpu0", "gpu1"], 2, 300.0), one(["gpu0"], 2, 150.0)
    untouched = [one(["untouched Ollama"], streams, 100.0) for streams in (1, 2)]
    kept = {"measurements": [alone, both], "untouched": {"measurements": untouched}}
    assert list(beside_untouched(kept)) == [(both, untouched[1])]
    assert list(beside_untouched({"measurements": [alone]})) == []
