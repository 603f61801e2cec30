# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The host's memory from the facts of gpu_facts."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.host_memory import (
    default_headroom,
    host_memory,
    units_of,
)

from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, gpu

UNITS = [{"unit": "ollama@cpu.service", "used_bytes": 30 * GIB}, {"unit": "db.service", "used_bytes": 5 * GIB}]
FACTS = {"total_bytes": 64 * GIB, "available_bytes": 20 * GIB, "swap_free_bytes": 2 * GIB, "units": UNITS}
APPLIED = {"instances": [{"unit": "ollama@cpu.service"}]}


def test_memory_of_our_own_units_is_available():
    found = host_memory({"host_memory": FACTS}, [], APPLIED, (), None)
    assert (found.available_bytes, found.swap_bytes, found.unified) == (50 * GIB, 2 * GIB, False)
    assert found.holders == (("db.service", 5 * GIB),) and found.held_bytes == 14 * GIB
    assert host_memory({"host_memory": FACTS}, [], {}, (), None).available_bytes == 20 * GIB
    both = host_memory({"host_memory": FACTS}, [], APPLIED, ["db.service"], 7)
    assert both.available_bytes == 55 * GIB and both.headroom_bytes == 7
    assert both.for_release() == {"free_bytes": 55 * GIB, "swap_bytes": 2 * GIB}
    assert both.freed(50 * GIB).available_bytes == 64 * GIB


def test_memory_that_the_facts_do_not_have_is_unknown():
    for facts in ({}, {"host_memory": None}, {"host_memory": {"total_bytes": None, "available_bytes": None}}):
        assert host_memory(facts, [gpu(0)], {}, (), None) is None


def test_a_gpu_that_shares_the_memory_says_how_much_there_is():
    shared = dataclasses.replace(gpu(0), unified=True, total_bytes=120 * GIB, available_bytes=90 * GIB)
    found = host_memory({}, [shared], {}, (), None)
    assert found.unified and (found.total_bytes, found.available_bytes) == (120 * GIB, 90 * GIB)
    assert host_memory({"host_memory": FACTS}, [shared], APPLIED, (), None).available_bytes == 90 * GIB


@pytest.mark.parametrize(
    "total, kept", [(4 * GIB, GIB), (32 * GIB, GIB), (64 * GIB, 2 * GIB), (1024 * GIB, 8 * GIB), (100 * MIB, GIB)]
)
def test_what_stays_free_for_the_host(total, kept):
    assert default_headroom(total) == kept


def test_units_whose_memory_is_ours():
    assert units_of(APPLIED, ["ollama.service"]) == {"ollama@cpu.service", "ollama.service"}
    assert units_of({}, None) == set()
