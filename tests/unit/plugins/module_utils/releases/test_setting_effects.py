# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which settings a version of Ollama acts on (envconfig/config.go at the release tags)."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import setting_effects, versions


@pytest.mark.parametrize(
    "name, before, first, last, after",
    [
        ("OLLAMA_SCHED_SPREAD", (0, 1, 44), (0, 1, 45), (0, 32, 15), None),
        ("OLLAMA_GPU_OVERHEAD", (0, 3, 9), (0, 3, 10), (0, 32, 15), None),
        ("OLLAMA_KV_CACHE_TYPE", (0, 4, 7), (0, 5, 0), (0, 32, 15), None),
        ("OLLAMA_CONTEXT_LENGTH", (0, 5, 12), (0, 5, 13), (0, 32, 15), None),
        ("OLLAMA_NEW_ESTIMATES", (0, 11, 4), (0, 11, 5), (0, 11, 10), (0, 11, 11)),
        ("OLLAMA_NEW_ENGINE", (0, 5, 11), (0, 5, 12), (0, 24, 0), (0, 30, 0)),
        ("OLLAMA_VULKAN", (0, 12, 10), (0, 12, 11), (0, 32, 15), None),
        ("LLAMA_ARG_FIT_TARGET", (0, 24, 0), (0, 30, 0), (0, 32, 15), None),
        ("LLAMA_ARG_TENSOR_SPLIT", (0, 24, 0), (0, 30, 0), (0, 32, 15), None),
    ],
)
def test_a_variable_acts_from_its_first_to_its_last_version(name, before, first, last, after):
    found = [setting_effects.knows(version, name) for version in (before, first, last)]
    assert found == [False, True, True]
    assert after is None or not setting_effects.knows(after, name)
    assert setting_effects.acting({name: "1", "OLLAMA_DEBUG": "1"}, before) == {"OLLAMA_DEBUG": "1"}
    assert name in setting_effects.acting({name: "1"}, first)


def test_what_a_version_does_not_know_is_said_to_have_no_effect():
    assert versions.effects("0.11.4")["OLLAMA_VULKAN"] == "no effect: Ollama reads it from 0.12.11 on"
    assert versions.effects("0.32.15")["OLLAMA_NEW_ENGINE"] == "no effect: Ollama reads it from 0.5.12 to 0.24.0"
    assert versions.effects("0.3.9")["OLLAMA_GPU_OVERHEAD"].startswith("no effect")
    assert versions.effects("0.32.15")["OLLAMA_GPU_OVERHEAD"].startswith("no effect on placement since 0.30")
    assert versions.effects("0.11.4")["LLAMA_ARG_TENSOR_SPLIT"].startswith("no effect before 0.30")


@pytest.mark.parametrize(
    "version, tokens",
    [("0.6.6", "2048"), ("0.6.7", "4096"), ("0.15.4", "4096"), ("0.15.5", "262144"), ("0.32.15", "262144")],
)
def test_the_default_context_is_told_by_version(version, tokens):
    assert tokens in versions.effects(version)["OLLAMA_CONTEXT_LENGTH"]


@pytest.mark.parametrize(
    "version, slots", [("0.6.6", "unset, 4"), ("0.6.7", "unset, 2"), ("0.9.6", "unset, 2"), ("0.10.0", "unset, 1")]
)
def test_the_default_slots_are_told_by_version(version, slots):
    assert slots in versions.effects(version)["OLLAMA_NUM_PARALLEL"]


def test_every_version_answers_for_the_same_settings_and_says_something():
    names = set(versions.effects("0.32.15")) - {"OLLAMA_NEW_ESTIMATES"}
    for version in ("0.5.13", "0.9.6", "0.11.4", "0.11.8", "0.12.10", "0.13.5", "0.24.0", "0.30.0"):
        found = versions.effects(version)
        assert names <= set(found)
        assert all(text and not text.endswith(".") for text in found.values())
