# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about what is installed and what runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import Program

from tests.unit.plugins.module_utils.diagnose.builders import PROGRAM, UNIT, engine, found, host, server

LIBRARIES = ("cuda_v13", "llama-server")
FAILED = {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}
RESULT = "ollama.service: Failed with result 'exit-code'."
BUSY = "Error: listen tcp 127.0.0.1:11434: bind: address already in use"
CASES = {
    "two_servers": (
        host(servers=(server(), server(name="ollama@gpu0.service", pid=5, url="http://127.0.0.1:11500", engines=()))),
        ["11434", "11500"],
    ),
    "two_programs": (
        host(programs=(Program(PROGRAM, "/l", LIBRARIES), Program("/usr/bin/ollama", "/l", LIBRARIES))),
        [PROGRAM, "/usr/bin/ollama"],
    ),
    "mixed_libraries": (host(programs=(Program(PROGRAM, "/l", (*LIBRARIES, "runners")),)), ["/l", "runners"]),
    "cuda_library_missing": (host(programs=(Program(PROGRAM, "/l", ("llama-server",)),)), ["/l", "cuda_v*"]),
    "program_replaced": (host(servers=(server(executable=PROGRAM + " (deleted)"),)), [PROGRAM, "restart " + UNIT]),
    "service_failed": (
        host(servers=(server(pid=0, process=None, properties=FAILED, last_lines=(BUSY, RESULT), engines=()),)),
        ["failed", "address already in use", "ss -ltnp"],
    ),
    "known_fault": (host(servers=(server(version="0.13.0"),)), ["0.13.0", "projector", "workaround"]),
    "engine_left_behind": (host(strays=(replace(engine().process, pid=77, parent=1),)), ["process 77", "KillMode"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding


def test_our_own_releases_are_no_second_installation():
    ours = Program("/usr/local/lib/ollama-multigpu/releases/0.32.15/bin/ollama", "/l", LIBRARIES)
    evidence = host()
    assert not found(host(programs=(*evidence.programs, ours)))


def test_servers_of_one_plan_are_no_two_servers():
    plan = {"gpu_uuids": ["x"], "environment": {}, "models": []}
    both = tuple(server(name="ollama@%s.service" % name, planned=plan, engines=()) for name in "ab")
    assert "two_servers" not in found(host(servers=both))


def test_a_service_that_was_stopped_has_not_failed():
    stopped = {"ActiveState": "inactive", "SubState": "dead", "Result": "success"}
    evidence = host(servers=(server(pid=0, process=None, properties=stopped, engines=()),))
    assert "service_failed" not in found(evidence)
    planned = {"gpu_uuids": ["x"], "environment": {}, "models": []}
    last = ("ollama.service: Consumed 1.577s CPU time.",)
    evidence = host(
        servers=(server(pid=0, process=None, properties=stopped, engines=(), planned=planned, last_lines=last),)
    )
    finding = found(evidence)["service_failed"]
    assert finding.remedy.startswith("Start it: systemctl start %s." % UNIT)
    assert "it was stopped" in finding.evidence and "CPU time" not in finding.evidence
    failed = server(pid=0, process=None, properties=FAILED, engines=(), last_lines=("It ended.",))
    assert found(host(servers=(failed,)))["service_failed"].evidence.endswith("(exit-code): It ended")
