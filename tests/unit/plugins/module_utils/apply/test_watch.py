# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Watching instances after their proof."""

from __future__ import annotations

import types

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import watch as module
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.proof import Proof
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import engines

from tests.unit.plugins.module_utils.apply.made_up_host import PASS, plan

PLAN = plan("0.32.15", "gpu0", "gpu1")
BAD = Proof(dict(PASS, verdict="fail"), "The engine of tiny died.")


@pytest.fixture(name="host")
def _host(monkeypatch):
    """A clock that goes on with each sleep; the engines of gpu0 at its seconds, and what looks and proofs find."""
    host = types.SimpleNamespace(now=0.0, engines={0: [(10, 5)]}, look=Proof(PASS), proof=Proof(PASS), told=[])

    def found(unit, with_mapped):
        if unit != "ollama@gpu0.service":
            return [types.SimpleNamespace(pid=20, started=6)]
        last = max(second for second in host.engines if second <= host.now)
        return [types.SimpleNamespace(pid=pid, started=started) for pid, started in host.engines[last]]

    def look(_plan, names):
        host.told.append(("look", *names))
        return host.look

    def prove(_plan, names, accept):
        host.told.append(("prove", *names, accept))
        return host.proof

    def sleep(seconds):
        host.now += seconds

    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: host.now, sleep=sleep))
    monkeypatch.setattr(engines, "engines", found)
    monkeypatch.setattr(module, "look", look)
    monkeypatch.setattr(module, "prove", prove)
    return host


def test_engines_that_run_on_are_proven_once_more(host):
    assert module.watch(PLAN, ["gpu0", "gpu1"], 7.5, True) == Proof(PASS)
    assert host.now == 7.5 and host.told == [("look", "gpu0", "gpu1"), ("prove", "gpu0", "gpu1", True)]


def test_what_the_last_proof_finds_counts(host):
    host.proof = BAD
    assert module.watch(PLAN, ["gpu0"], 3) == BAD


def test_an_engine_that_was_gone_before_is_seen_at_once(host):
    host.look = BAD
    assert module.watch(PLAN, ["gpu0"], 60) == BAD and host.now == 0


def test_an_engine_that_ends_is_named_although_another_has_taken_its_place(host):
    host.engines[4] = [(11, 9)]
    found = module.watch(PLAN, ["gpu0", "gpu1"], 60)
    assert "The engine of gpu0 (process 10) ended within 5 seconds" in found.problem and host.now == 4
    assert "options of its own" in found.problem and "gpu1" not in found.problem


def test_what_is_found_of_it_is_told_too(host, monkeypatch):
    host.engines[4] = []
    monkeypatch.setattr(module, "look", lambda _plan, _names: BAD if host.now else Proof(PASS))
    found = module.watch(PLAN, ["gpu0"], 60)
    assert found.problem.endswith(BAD.problem) and found.evidence == BAD.evidence


def test_where_models_are_loaded_on_demand_engines_come_and_go(host, monkeypatch):
    on_demand = plan("0.32.15", "gpu0")
    on_demand["instances"][0]["models"].append({"name": "small", "resident": False})
    host.engines.update({2: [(10, 5), (12, 30)], 5: [(10, 5)], 8: [(12, 60)]})
    assert module.watch(on_demand, ["gpu0"], 20) == Proof(PASS) and host.now == 20
    assert host.told.count(("look", "gpu0")) == 2
    host.now = 0.0
    monkeypatch.setattr(module, "look", lambda _plan, _names: BAD if host.now else Proof(PASS))
    assert module.watch(on_demand, ["gpu0"], 20) == BAD and host.now == 8
