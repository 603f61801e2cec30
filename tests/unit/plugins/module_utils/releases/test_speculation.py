# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""When a release has its engine propose tokens."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import HEADS
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import speculation, versions
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.speculation import NONE, Speculation

from tests.oracle import table

VERSION = (0, 32, 15)


def model(name="llama3.1-8b", draft=None, **changes):
    return dataclasses.replace(table.facts(name), draft=table.facts(draft) if draft else None, **changes)


@pytest.mark.parametrize(
    "facts, asked, expected",
    [
        (model(), None, NONE),
        (model(), 4, NONE),
        (model("qwen3.5-27b-mtp"), None, NONE),
        (model("qwen3.5-27b-mtp"), 0, NONE),
        (model("qwen3.5-27b-mtp"), -1, NONE),
        (model("qwen3.5-27b-mtp"), 3, Speculation(HEADS, 3)),
        (model("qwen3.5-27b", "qwen3.5-27b-mtp"), None, Speculation(HEADS, 4)),
        (model("qwen3.5-27b", "qwen3.5-27b-mtp"), 8, Speculation(HEADS, 8)),
        (model("qwen3.5-27b", "qwen3.5-27b-mtp"), 0, NONE),
        (model("qwen3.5-27b", other_sizes={"mtp.fc.weight": 1}), 4, Speculation(HEADS, 4)),
        (model("llama3.1-8b", other_sizes={"mtp.fc.weight": 1}), 4, NONE),
    ],
)
def test_who_proposes_how_many(facts, asked, expected):
    assert speculation.speculation_of(facts, asked, VERSION) == expected


def test_a_draft_of_dflash_has_its_own_type_since_0_32_7():
    facts = dataclasses.replace(model(), draft=model("llama3.2-1b", architecture="dflash"))
    assert speculation.speculation_of(facts, None, (0, 32, 7)) == Speculation("draft-dflash", 4)
    assert speculation.speculation_of(facts, None, (0, 32, 6)) == Speculation(HEADS, 4)


def test_the_engine_wants_heads_in_a_draft():
    found = Speculation(HEADS, 4)
    assert speculation.cannot_start(model("llama3.1-8b", "llama3.2-1b"), found)
    assert not speculation.cannot_start(model("qwen3.5-27b", "qwen3.5-27b-mtp"), found)
    assert not speculation.cannot_start(model("qwen3.5-27b-mtp"), found)


@pytest.mark.parametrize(
    "version, expected", [("0.24.0", NONE), ("0.30.0", Speculation(HEADS, 2)), ("0.32.15", Speculation(HEADS, 2))]
)
def test_releases_before_llama_server_propose_nothing(version, expected):
    assert versions.release_of(version).speculation(model("qwen3.5-27b-mtp"), 2) == expected


def test_heads_that_the_engine_cannot_run_are_known():
    found = Speculation(HEADS, 4)
    assert not speculation.has_no_graph(model("qwen3.5-27b-mtp"), found)
    assert speculation.has_no_graph(model("llama3.1-8b"), found) and not speculation.has_no_graph(model(), NONE)
    assert not speculation.has_no_graph(model("llama3.1-8b", "qwen3.5-27b-mtp"), found), "the draft's heads propose"
