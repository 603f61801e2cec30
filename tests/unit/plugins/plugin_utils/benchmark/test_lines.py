# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is said of a benchmark, and how it differs from an earlier one."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.compared import FIGURES, change
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.lines import lines, untouched_lines


def figure(median, spread=0.0):
    return {"median": median, "q1": median - spread, "q3": median + spread, "repeats": 3}


def made(speed=100.0, spread=1.0, streams=1, **changes):
    """A benchmark with one measurement."""
    one = {
        "model": "tiny",
        "instances": ["gpu0"],
        "prompt": 32,
        "prompt_tokens": 31,
        "streams": streams,
        "first_token_seconds": figure(0.05, 0.01),
        "tokens_per_second": figure(speed, spread),
        "total_tokens_per_second": figure(speed * streams, spread),
        "requests_per_minute": figure(90.0, 1.0),
        "disturbed": 0,
    }
    loads = [{"model": "tiny", "instances": ["gpu0"], "seconds": figure(2.0, 0.1)}]
    found = {"release": "0.32.15", "loads": loads, "measurements": [one], "notes": [], "label": "", "time": "T"}
    return dict(found, **changes)


@pytest.mark.parametrize(
    "name, before, now, told",
    [
        ("tokens_per_second", figure(100, 2), figure(120, 2), "20.0 % better"),
        ("tokens_per_second", figure(100, 2), figure(80, 2), "20.0 % worse"),
        ("first_token_seconds", figure(0.1, 0), figure(0.2, 0), "100.0 % worse"),
        ("seconds", figure(4, 0), figure(3, 0), "25.0 % better"),
        ("tokens_per_second", figure(100, 15), figure(120, 15), "as before"),
        ("tokens_per_second", figure(100, 10), figure(120, 10), "as before"),
        ("tokens_per_second", None, figure(120), ""),
        ("tokens_per_second", figure(100), None, ""),
        ("tokens_per_second", figure(0), figure(5), ""),
    ],
)
def test_a_change_is_told_where_the_middle_halves_are_apart(name, before, now, told):
    assert change(name, before, now) == told


@pytest.mark.parametrize(
    "repeats, now, told",
    [
        ((1, 1), 2.19, "as before"),
        ((1, 1), 1.81, "as before"),
        ((1, 1), 2.21, "10.5 % worse"),
        ((1, 1), 1.5, "25.0 % better"),
        ((1, 3), 2.19, "as before"),
        ((3, 1), 2.19, "as before"),
        ((2, 2), 2.19, "9.5 % worse"),
    ],
)
def test_one_value_alone_has_room_of_a_tenth(repeats, now, told):
    before, after = (dict(figure(value), repeats=count) for value, count in zip((2.0, now), repeats))
    assert change("seconds", before, after) == told


def test_lines_of_a_first_benchmark():
    assert lines(made()) == [
        "tiny on gpu0: a load takes 2.00 s (1.90 to 2.10).",
        "tiny on gpu0, prompts of 31 tokens, 1 request: first token after 0.050 s (0.040 to 0.060); 100.0 tokens/s "
        "(99.0 to 101.0); 90 requests/min (89 to 91).",
    ]


def test_several_requests_have_a_speed_each_and_one_in_all():
    (line,) = lines(made(streams=4, loads=[]))
    assert "4 requests at a time" in line and "each 100.0 tokens/s" in line and "all 400.0 tokens/s" in line


def test_an_earlier_one_is_named_and_compared():
    earlier = made(80.0, label="before", time="2026-11-28T10:00:00Z", release="0.31.0")
    told = lines(made(label="stand-in", notes=["x was not measured."]), earlier)
    assert told[0] == "This is a measurement of: stand-in."
    assert told[1] == "It is compared with the benchmark of 2026-11-28T10:00:00Z, Ollama 0.31.0, before."
    assert told[2] == "What differs beside the figures: Ollama 0.31.0 -> 0.32.15."
    assert "100.0 tokens/s (99.0 to 101.0, 25.0 % better)" in told[4]
    assert "a load takes 2.00 s (1.90 to 2.10, as before)" in told[3] and told[-1] == "x was not measured."


def test_replicas_are_told_beside_one_instance():
    found = made(streams=2, loads=[])
    found["measurements"].append(dict(found["measurements"][0], instances=["gpu0", "gpu1"], streams=4))
    found["measurements"][1]["total_tokens_per_second"] = figure(380.0)
    told = lines(found)
    assert "times the tokens/s" not in told[0]
    assert told[1].endswith("1.9 times the tokens/s of one instance at its best."), told[1]


def test_an_untouched_ollama_is_told_beside_the_plan():
    found, untouched = made(120.0), made(100.0)
    untouched["measurements"][0]["instances"] = untouched["loads"][0]["instances"] = ["untouched Ollama"]
    untouched["measurements"].append(dict(untouched["measurements"][0], streams=9))
    untouched["loads"][0]["seconds"] = figure(4.0, 0.1)
    untouched["loaded"] = [{"model": "tiny", "context_length": 4096, "size_bytes": 2**31, "size_vram_bytes": 2**30}]
    told = untouched_lines(dict(found, untouched=dict(untouched, notes=["x"])))
    assert told[0] == "Untouched, Ollama loads tiny with a context of 4096 tokens, 1.0 GiB of 2.0 GiB on GPUs."
    assert told[1] == "tiny on untouched Ollama: a load takes 4.00 s (3.90 to 4.10). With the plan: 50.0 % better."
    assert told[2].startswith("tiny on untouched Ollama, prompts of 31 tokens, 1 request: first token after 0.050 s")
    changed = "first token the same, tokens/s 20.0 % better, requests/min the same."
    assert told[2].endswith("With the plan (gpu0): " + changed)
    assert "With the plan" not in told[3] and told[4] == "x"


def test_only_the_same_is_compared():
    for change_to in ({"prompt": 64}, {"streams": 2}, {"model": "other"}, {"instances": ["gpu0", "gpu1"]}):
        earlier = copy.deepcopy(made(50.0))
        earlier["measurements"][0].update(change_to)
        assert "better" not in lines(made(), earlier)[-1], change_to
    moved = made(50.0)
    moved["measurements"][0]["instances"] = ["gpu7"]
    assert "better" in lines(made(), moved)[-1], "another plan has other names of instances"


def test_what_depends_on_the_length_of_the_answers_is_compared_with_the_same_length_only():
    earlier = dict(made(50.0), tokens=16)
    assert lines(dict(made(), tokens=16), earlier)[-1].count("better") == 1
    told = lines(dict(made(), tokens=64), earlier)
    assert told[1] == "What differs beside the figures: most tokens of an answer 16 -> 64."
    assert "better" not in told[-1] and told[-1].count("as before") == 1, "the first token does not depend on it"


def replicas(*speeds, names=("gpu0", "gpu1")):
    """A benchmark of replicas, of which each was measured by itself."""
    found = made()
    entries = [made(speed)["measurements"][0] for speed in speeds]
    found["measurements"] = [dict(one, instances=[name]) for one, name in zip(entries, names)]
    found["loads"] = [
        {"model": "tiny", "instances": [name], "seconds": figure(s / 50, 0.01)} for s, name in zip(speeds, names)
    ]
    return found


def test_each_replica_is_compared_with_itself():
    told = lines(replicas(100.0, 50.0), replicas(100.0, 50.0))
    assert len(told) == 5 and not [line for line in told if "better" in line or "worse" in line], told
    assert sum(line.count("as before") for line in told) == 2 + 2 * 3


def test_replicas_with_other_names_are_not_compared():
    """Which of them an earlier one is, is not known."""
    told = lines(replicas(100.0, 50.0), replicas(80.0, 40.0, names=("gpu8", "gpu9")))
    assert not [line for line in told if "better" in line or "as before" in line], told
    told = lines(replicas(100.0, 50.0), replicas(80.0))
    assert ["better" in line for line in told if "request" in line] == [True, False]


def test_what_is_unknown_and_what_was_disturbed_is_said():
    found = made()
    found["measurements"][0].update(disturbed=2, total_tokens_per_second=None)
    assert "unknown" in lines(found)[-1] and "Others were served before 2 of the repeats." in lines(found)[-1]


def test_names_of_a_host_are_text():
    assert "\x1b" not in "".join(lines(made(notes=["\x1b[31mred"], label="\x1b]0;x")))
    assert all(isinstance(better, bool) for better in FIGURES.values())
