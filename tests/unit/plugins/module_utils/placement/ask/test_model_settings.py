# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Settings of a model: wrong ones are refused in one sentence."""

from __future__ import annotations

import pytest

from tests.oracle import models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, refused


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"parameters": {"main_gpu": 0}}, ["main_gpu 0", "strategy: single"]),
        ({"parameters": {"nun_gpu": 2}}, ["'nun_gpu'", "mean num_gpu?"]),
        ({"parameters": {"temprature": 0.5}}, ["'temprature'", "mean temperature?"]),
        ({"parameters": {"num_ctx": "many"}}, ["num_ctx", "'many'", "whole number"]),
        ({"parameters": {"num_ctx": 1.5}}, ["num_ctx", "1.5"]),
        ({"parameters": {"temperature": "hot"}}, ["temperature", "'hot'"]),
        ({"parameters": {"num_ctx": 4096}, "context_length": 8192}, ["same setting"]),
        ({"context_length": "many"}, ["context_length", "'many'"]),
        ({"context_length": 0}, ["context_length", "at least"]),
        ({"parallel": 0}, ["parallel", "at least 1"]),
        ({"replicas": "two"}, ["replicas", "'two'"]),
        ({"replicas": 2, "strategy": "split"}, ["replicas 2", "split"]),
        ({"headroom_bytes": -1}, ["headroom_bytes", "at least 0"]),
        ({"strategy": "both"}, ["'both'", "spread"]),
        ({"kv_cache_type": "q9"}, ["'q9'", "use one of f16, q8_0, q4_0."]),
        ({"kv_cache_type": "q8_0", "flash_attention": False}, ["flash attention"]),
        ({"keep_alive": "soon"}, ["keep_alive", "'soon'", "30m"]),
        ({"keep_alive": 0}, ["keep_alive 0", "unload", "-1"]),
        ({"keep_alive": "0m"}, ["keep_alive 0m", "unload"]),
        ({"keep_alive": True}, ["keep_alive True", "duration"]),
        ({"digest": "sha256:12"}, ["sha256:12", "64"]),
        ({"model": {}}, ["model_info"]),
        ({"model": {"architecture": "llama"}}, ["block_count"]),
        ({"optimized": {"suffix": "a/b"}}, ["a/b", "tag"]),
        ({"optimized": {"suffix": "-" + "a" * 80}}, ["80 characters", "shorter optimized.suffix"]),
        ({"optimized": "fast"}, ["optimized", "'fast'", "dictionary"]),
        ({"optimized": {"parameters": ["num_ctx"]}}, ["num_ctx", "dictionary"]),
        ({"parameters": "temperature"}, ["'temperature'", "dictionary"]),
        ({"parameters": {"num_batch": 0}}, ["num_batch", "at least 1"]),
        ({"parameters": {"num_ctx": -1}}, ["num_ctx", "at least 4"]),
        ({"parameters": {"temperature": float("nan")}}, ["temperature", "nan"]),
        ({"context_length": "max"}, ["'max'", "tokens", "auto"]),
        ({"context_length": "32k"}, ["'32k'", "tokens", "auto"]),
        ({"context_length": float("inf")}, ["inf", "whole number"]),
        ({"parallel": -1}, ["parallel", "at least 1"]),
        ({"insecure": "perhaps"}, ["insecure", "'perhaps'"]),
        ({"name": "m:" + "a" * 81}, ["80 characters"]),
    ],
)
def test_wrong_settings_of_a_model(entry, words):
    message = refused(entry)
    for word in words:
        assert word in message


def test_a_pin_that_the_registry_does_not_keep():
    facts = dict(models.model("llama4-scout"), digest="sha256:" + "b" * 64)
    message = refused({"model": facts, "digest": "sha256:" + "a" * 64})
    assert "b" * 64 in message and "a" * 64 in message and "change the pin" in message
    assert make_plan(TWO_A6000, [{"name": "llama4:16x17b", "model": facts, "digest": facts["digest"]}], "0.32.15")[
        "feasible"
    ]


@pytest.mark.parametrize("given, planned", [(None, -1), ("-1", -1), (300, 300), ("24h", "24h"), ("1h30m", "1h30m")])
def test_keep_alive(given, planned):
    entry = {"name": "llama3", "model": models.model("llama3.1-8b"), "keep_alive": given}
    assert make_plan(TWO_A6000, [entry], "0.32.15")["instances"][0]["models"][0]["keep_alive"] == planned


def test_a_pin_may_leave_out_how_it_was_made():
    facts = dict(models.model("llama3.1-8b"), digest="sha256:" + "b" * 64)
    result = make_plan(TWO_A6000, [{"name": "llama3", "model": facts, "digest": "b" * 64}], "0.32.15")
    assert result["instances"][0]["models"][0]["digest"] == facts["digest"]
