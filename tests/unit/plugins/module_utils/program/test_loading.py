# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Load the planned models after a start, prove them, and leave alone what a run or a client has done."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import time
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import run_lock as lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld, run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Outcome
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import checking, loading
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import USAGE, Refused

from tests.unit.plugins.module_utils.evidence.builders import NAME, A, B, observations, plan
from tests.unit.plugins.module_utils.program.host import Host


class Server:
    """A server: what it has loaded, and what is asked of it."""

    def __init__(self, monkeypatch):
        self.there, self.loaded, self.asked, self.problem, self.error = [NAME], [], [], None, None
        monkeypatch.setattr(loading, "OllamaClient", lambda url, timeout: self)
        monkeypatch.setattr(loading, "wait_for", self._wait)
        monkeypatch.setattr(loading, "ensure_loaded", self._load)
        monkeypatch.setattr(loading.nvml, "read_inventory", lambda timeout: (self.inventory, None))
        self.inventory = observations().inventory

    def _wait(self, instances, timeout):
        assert timeout == loading.READY_SECONDS
        return [dict(one, problem=self.problem) for one in instances]

    def ps(self):
        return [{"name": name} for name in self.loaded]

    def tags(self):
        return [{"name": name, "digest": "0" * 64} for name in self.there]

    def _load(self, target, name, keep_alive, names):
        if self.error:
            raise self.error
        self.asked.append((str(name), keep_alive))
        return Outcome("load")


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    found = Host(tmp_path, monkeypatch)
    found.write_instance(plan())
    return found


@pytest.fixture(name="server")
def _server(monkeypatch):
    return Server(monkeypatch)


def texts(answer):
    return "\n".join(line.text for line in answer.lines)


@pytest.mark.parametrize("name", ["gpu0-1", None])
def test_planned_models_are_loaded_and_proven(host, server, name):
    answer = loading.load(host.places, name)
    assert answer.code == 0 and server.asked == [(NAME, -1)] and "is loaded" in texts(answer)
    assert host.collected[0]["generate"] is True
    assert host.collected[0]["load"] is True, "also a model that is listed and whose engine has died"


def test_an_instance_that_is_not_there(host, server):
    with pytest.raises(Refused, match="give one of gpu0-1") as refused:
        loading.load(host.places, "gpu7")
    assert refused.value.code == USAGE


def test_a_run_that_holds_the_lock_loads_itself(host, server, monkeypatch):
    monkeypatch.setattr(loading, "_MOMENT_SECONDS", 0.1)
    with run_lock(path=host.places.lock):
        answer = loading.load(host.places, "gpu0-1")
    assert answer.code == 0 and server.asked == [] and "a run loads the models itself" in texts(answer)
    assert not os.path.exists(host.places.verdict)


def test_the_models_are_loaded_after_a_benchmark_that_has_stopped_the_instances(host, server, monkeypatch):
    """It loads them itself, and a load by hand says so; but whoever kills it leaves that to the unit."""
    monkeypatch.setattr(loading, "_MOMENT_SECONDS", 0)
    waited = []

    def killed(seconds):
        waited.append(list(server.asked))
        benchmark.close()

    monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=time.monotonic, sleep=killed))
    with contextlib.ExitStack() as benchmark:
        benchmark.enter_context(run_lock(path=host.places.lock))
        benchmark.enter_context(run_lock(path=host.places.benchmark_lock))
        assert host.run("load", "gpu0-1")[0] == 0 and server.asked == waited == []
        assert host.run("load", "gpu0-1", "--after-benchmark")[0] == 0
    assert waited == [[]] and server.asked


def test_a_run_of_the_role_is_not_waited_for(host, server, monkeypatch):
    monkeypatch.setattr(loading, "_MOMENT_SECONDS", 0)
    waits = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: pytest.fail("it waits"))
    monkeypatch.setattr(lock, "time", waits)
    with run_lock(path=host.places.lock):
        assert loading.load(host.places, "gpu0-1", after_benchmark=True).code == 0 and server.asked == []


def test_others_may_load_at_the_same_time(host, server):
    with run_lock(shared=True, path=host.places.lock):
        assert loading.load(host.places, "gpu0-1").code == 0
    assert server.asked


def test_the_last_instance_that_is_ready_writes_the_verdict(host, server, monkeypatch):
    monkeypatch.setattr(checking, "OTHERS_SECONDS", 0.1)
    with run_lock(shared=True, path=host.places.lock):
        assert host.run("load", "gpu0-1")[0] == 0
    assert not os.path.exists(host.places.verdict), "the other one writes it"
    assert host.run("load", "gpu0-1")[0] == 0
    with open(host.places.verdict, encoding="utf-8") as stream:
        assert json.load(stream)["verdict"] == "pass"


def test_no_run_begins_while_models_load(host, server, monkeypatch):
    def load(*_arguments, **_options):
        with pytest.raises(LockHeld):
            with run_lock(path=host.places.lock):
                pass
        return Outcome("load")

    monkeypatch.setattr(loading, "ensure_loaded", load)
    assert loading.load(host.places, "gpu0-1").code == 0


def test_a_gpu_that_is_gone_keeps_its_models_from_the_cpu(host, server):
    server.inventory = dict(server.inventory, gpus=server.inventory["gpus"][:1])
    answer = loading.load(host.places, "gpu0-1")
    assert answer.code == 1 and server.asked == [] and B in texts(answer) and A not in answer.lines[0].text
    assert host.collected[0]["load"] is False


def test_a_gpu_with_mig_and_without_mig_devices_keeps_its_models_from_the_cpu(host, server):
    server.inventory["gpus"][1]["mig"]["mode"] = "enabled"
    answer = loading.load(host.places, "gpu0-1")
    assert answer.code == 1 and server.asked == [] and "%s, MIG is enabled and no MIG" % B in texts(answer)


def test_a_server_that_does_not_answer(host, server):
    server.problem = "ollama@gpu0-1.service ended right after its start."
    answer = loading.load(host.places, "gpu0-1")
    assert answer.code == 1 and server.asked == [] and "ended right after" in texts(answer)


def test_what_others_have_loaded_is_not_evicted(host, server):
    server.loaded = ["of-a-client:latest"]
    answer = loading.load(host.places, "gpu0-1")
    assert answer.code == 1 and server.asked == [] and "of-a-client" in texts(answer)


def test_a_planned_model_under_the_name_it_was_made_from_is_no_stranger(host, server):
    server.loaded = ["llama4:16x17b"]
    assert loading.load(host.places, "gpu0-1").code == 0


@pytest.mark.parametrize("error", [OllamaError(500, "no memory"), ModelError("it has no model")])
def test_a_load_that_fails_is_a_sentence(host, server, error):
    server.error = error
    answer = loading.load(host.places, "gpu0-1")
    assert answer.code == 1 and str(error) in texts(answer)


def test_a_model_on_demand_is_not_loaded(host, server):
    changed = plan()
    changed["instances"][0]["models"][0]["resident"] = False
    host.write_instance(changed)
    host.places.plan_file.write_text(json.dumps(changed), encoding="utf-8")
    assert loading.load(host.places, "gpu0-1").code in (0, 2) and server.asked == []


def next_plan():
    changed = copy.deepcopy(plan())
    changed["instances"][0]["models"][0].update(name="other", create_as="other:new", **{"from": "other"})
    return changed


def test_while_a_run_brings_the_models_there_is_nothing_to_load(host, server):
    host.write_instance(next_plan())
    answer = loading.load(host.places, "gpu0-1")
    assert answer.code == 0 and server.asked == [] and "the run that is under way brings it" in texts(answer)


def test_only_what_the_next_plan_has_is_loaded_while_it_is_applied(host, server):
    host.write_instance(next_plan())
    server.there = [NAME, "other:new"]
    answer = loading.load(host.places, "gpu0-1")
    assert server.asked == [("other:new", -1)]
    assert answer.code == 0, "whoever changes the instance proves it"


def test_a_model_that_is_gone_without_a_run_is_a_failure(host, server):
    server.error = ModelError("the server has no model %s to load" % NAME)
    server.there = []
    assert loading.load(host.places, "gpu0-1").code == 1
