# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Variables that reach llama-server. What they do to a plan is tested with the plan."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import engine_variables


@pytest.mark.parametrize(
    "value, unified",
    [
        ("1", True),
        ("on", True),
        ("true", True),
        ("enabled", True),
        ("0", False),
        ("off", False),
        ("TRUE", False),
        (None, False),
    ],
)
def test_one_stream_for_all_slots(value, unified):
    """llama-server compares in lower case only."""
    assert engine_variables.unified({} if value is None else {"LLAMA_ARG_KV_UNIFIED": value}) is unified


def test_names_carry_no_prefix():
    assert not [name for name in engine_variables.NAMES if name.startswith(engine_variables.PREFIX)]
    assert engine_variables.UNIFIED[len(engine_variables.PREFIX) :] in engine_variables.NAMES


def test_a_pooling_of_all_tokens():
    assert [engine_variables.pools({"LLAMA_ARG_POOLING": value}) for value in ("mean", "rank", "none")] == [
        True,
        True,
        False,
    ]
    assert not engine_variables.pools({})


def test_other_names_of_what_llama_server_reads():
    word = engine_variables.known_word
    assert [word("THREADS"), word("NO_HOST"), word("NO_KV_OFFLOAD"), word("DRAFT_P_MIN"), word("NO_WEBUI")] == [
        "THREADS",
        "NO_HOST",
        "KV_OFFLOAD",
        "SPEC_DRAFT_P_MIN",
        "UI",
    ]
    assert word("THREDS") is None and word("NO_") is None and word("NO_THREDS") is None
    assert set(engine_variables.FORMER.values()) <= engine_variables.NAMES
    assert not set(engine_variables.FORMER) & engine_variables.NAMES


def test_shares_of_gpus_are_read_as_llama_server_reads_them():
    assert engine_variables.shares("3,0.5/0.00") == [3.0, 0.5, 0.0]
    assert engine_variables.shares("1,/ 2,x") == [1.0, 2.0, 0.0] and engine_variables.shares("") == []
