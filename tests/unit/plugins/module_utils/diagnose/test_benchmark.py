# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host on which a benchmark measures an untouched Ollama: its server is ours, and stopped instances are no fault."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import benchmark, diagnosis
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.diagnosis import findings
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Answer

from tests.unit.plugins.module_utils.diagnose.builders import GIB, host, inventory, server
from tests.unit.plugins.module_utils.diagnose.test_proven import proof

INSTANCE = "ollama@gpu0.service"
FAILED = {"ActiveState": "failed", "Result": "exit-code", "LoadState": "loaded"}


def benchmarking(**changes):
    """Evidence while the benchmark runs: its server has a model on a GPU, and an instance is stopped."""
    process = {"pid": 4242, "name": "llama-server", "used_bytes": 20 * GIB, "unit": paths.UNTOUCHED_UNIT}
    listed = {"processes": [process]}
    untouched = dataclasses.replace(server(), name=paths.UNTOUCHED_UNIT, engines=())
    stopped = dataclasses.replace(
        server(pid=0), name=INSTANCE, planned={"gpu_uuids": []}, properties=FAILED, engines=()
    )
    given = {"servers": (untouched, stopped), "inventory": inventory(listed, listed), "proof": proof()}
    return host(**{**given, **changes})


def test_its_server_is_named_and_stopped_instances_are_no_fault():
    evidence = benchmarking()
    assert findings(evidence) == []
    told = " ".join(diagnosis.looked_at(evidence))
    assert "%s: Ollama 0.32.15" % paths.UNTOUCHED_UNIT in told and "A benchmark runs" in told
    (line,) = diagnosis.lines(evidence, [])
    assert "It was not compared with a plan." in line


def test_the_same_without_the_benchmark_is_a_fault():
    evidence = benchmarking()
    others = tuple(one for one in evidence.servers if one.name == INSTANCE)
    kinds = {one.finding for one in findings(dataclasses.replace(evidence, servers=others))}
    assert {"service_failed", "not_as_planned"} <= kinds
    assert "A benchmark runs" not in " ".join(diagnosis.looked_at(dataclasses.replace(evidence, servers=others)))


def test_a_unit_whose_server_does_not_run_is_no_benchmark():
    left = dataclasses.replace(server(pid=0), name=paths.UNTOUCHED_UNIT, engines=())
    assert not benchmark.runs(host(servers=(left,)))


def test_other_servers_are_diagnosed_meanwhile():
    evidence = benchmarking()
    other = dataclasses.replace(server(pid=0), properties=FAILED, engines=())
    answers = (Answer(paths.UNTOUCHED_UNIT, "tiny", "d"), Answer(other.name, "tiny", "d"))
    seen = benchmark.judged(dataclasses.replace(evidence, servers=(*evidence.servers, other), answers=answers))
    assert seen.servers == (other,) and seen.answers == answers[1:] and seen.proof is None
