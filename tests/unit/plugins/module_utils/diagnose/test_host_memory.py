# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the host's memory."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.diagnose.builders import GIB, MIB, UNIT, engine, found, host, inventory, server

#: As Linux 6.1 logs it.
KILLED = "Out of memory: Killed process 901 (llama-server) total-vm:90000000kB, anon-rss:60000000kB"
#: Of a unit, a container or a pod with a limit, and as Linux before 5.1 logs both.
KILLED_LINES = (
    KILLED,
    "Memory cgroup out of memory: Killed process 901 (llama-server) total-vm:90000000kB, anon-rss:60000000kB",
    "Memory cgroup out of memory: Kill process 901 (llama-server) score 987 or sacrifice child",
    "Out of memory: Kill process 901 (ollama) score 987 or sacrifice child",
)
SHARED = inventory(first={"memory": {"kind": "unified", "total_bytes": 128 * GIB, "free_bytes": 90 * GIB}})
SPILLED = server(engines=(engine(log={"layers": 3, "layers_total": 49}),))
CASES = {
    "swapped": (host(servers=(server(engines=(engine(swapped_bytes=2 * GIB),)),)), ["2.0 GiB of llama3:70b", UNIT]),
    "killed_for_memory": (host(kernel_lines=[KILLED]), ["Killed process 901", "MemoryMax", "container"]),
    "page_cache": (host(inventory=SHARED, servers=(SPILLED,)), ["GPU 0 (RTX A6000)", "20.0 GiB", "drop_caches"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding


def test_a_little_swap_is_well():
    assert not found(host(servers=(server(swapped_bytes=MIB),)))


@pytest.mark.parametrize("line", KILLED_LINES)
def test_a_process_that_the_kernel_killed(line):
    finding = found(host(kernel_lines=["", line]))["killed_for_memory"]
    assert finding.evidence.endswith(line)


@pytest.mark.parametrize("line", KILLED_LINES)
def test_another_process_that_was_killed_is_not_ours(line):
    line = line.replace("(llama-server)", "(postgres)").replace("(ollama)", "(postgres)")
    assert not found(host(kernel_lines=[line]))


def test_systemd_says_it_too():
    properties = {"ActiveState": "active", "Result": "oom-kill"}
    assert found(host(servers=(server(properties=properties),)))["killed_for_memory"].subject == UNIT


def test_the_page_cache_is_well_where_gpus_have_their_own_memory():
    assert "page_cache" not in found(host(servers=(SPILLED,)))
