# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Observing a plan: what is loaded and what is not touched, which engine serves a model, what runs at the same time."""

from __future__ import annotations

import dataclasses
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import collect as collecting
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import concurrency, observer
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import engines as evidence_engines
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import EngineProcess, Rules
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import proc, systemd

from tests.unit.plugins.module_utils.evidence.builders import GIB, NAME, UNIT, A, B, plan
from tests.unit.plugins.scripted_server import serving

BLOB = "sha256-" + "1" * 64
START = 'msg="starting llama-server" cmd="/x/llama-server --model /m/blobs/%s --port 40000 -c 32768"' % BLOB


SAMPLED = {"utilization_peak": {A: 40, B: None}, "busy_processes": {A: {4242: 40}, B: None}}


class Host:
    """An instance with its server: `loaded` (names), `engines`; what was asked of it is in `asked`."""

    def __init__(self, loaded=(), engines=(), load_answer=(200, {"done": True, "done_reason": "load"}), dies=False):
        self.loaded, self.engines = list(loaded), list(engines)
        self.load_answer, self.dies = load_answer, dies
        self.asked = []

    def routes(self):
        return {
            ("GET", "/api/ps"): lambda request, handler: (
                200,
                {
                    "models": [
                        {"name": name, "size": 1, "size_vram": 1, "context_length": 32768} for name in self.loaded
                    ]
                },
            ),
            ("GET", "/api/version"): (200, {"version": "0.32.15"}),
            ("GET", "/api/tags"): (200, {"models": [{"name": NAME, "digest": "5" * 64}]}),
            ("POST", "/api/show"): (
                200,
                {"modelfile": "# Modelfile\nFROM /store/blobs/%s\nPARAMETER num_ctx 32768\n" % BLOB},
            ),
            ("POST", "/api/generate"): self.generate,
            ("POST", "/api/embed"): lambda request, handler: (200, {"embeddings": [[0.6, 0.8]]}),
        }

    def generate(self, request, handler):
        body = request.json
        self.asked.append(body)
        if "prompt" in body:
            return 200, {"response": "x", "eval_count": 10, "eval_duration": 500000000, "done": True}
        if self.load_answer[0] == 200:
            self.loaded.append(body["model"])
            self.engines = [] if self.dies else [engine()]
        return self.load_answer


def engine(pid=4242, model=BLOB, context="32768"):
    return EngineProcess(pid, model, 40000, ["llama-server", "--model", "/m/" + model, "-c", context], 7, parent=4200)


@pytest.fixture
def gather(monkeypatch):
    """A function that observes the plan on a Host: gather(host, load, generate) -> Observations."""

    def run(host, load=True, generate=True, wanted=None, pid="4200", between=lambda: None):
        monkeypatch.setattr(evidence_engines, "engines", lambda unit, **_how: list(host.engines))
        monkeypatch.setattr(
            proc, "is_alive", lambda pid, started, root="/proc": any(one.pid == pid for one in host.engines)
        )
        monkeypatch.setattr(systemd, "show", lambda names: {UNIT: {"ActiveState": "active", "MainPID": pid}})
        monkeypatch.setattr(
            systemd, "journal", lambda unit, since: ([START, "load_tensors: offloaded 49/49 layers to GPU"], None)
        )
        monkeypatch.setattr(
            collecting.nvml,
            "read_inventory",
            lambda timeout: ({"state": "ok", "gpus": [{"uuid": A}, {"uuid": B}]}, None),
        )
        monkeypatch.setattr(
            collecting, "Sampler", lambda pynvml: type("S", (), {"finish": lambda self, timeout: dict(SAMPLED)})()
        )
        monkeypatch.setattr(observer, "SETTLE_SECONDS", 0)
        monkeypatch.setattr(observer.asking, "SAMPLE_SECONDS", 0)
        monkeypatch.setattr(concurrency, "POLL_SECONDS", 0.01)
        between()
        with serving(host.routes()) as double:
            wanted = wanted or plan()
            wanted["instances"][0]["url"] = double.url
            return collecting.collect(wanted, load=load, generate=generate, timeout=5)

    return run


def model_of(observations):
    return observations.instances["gpu0-1"].models[NAME]


def test_what_is_loaded_is_used_as_it_is(gather):
    host = Host([NAME], [engine()])
    found = model_of(gather(host))
    assert [("prompt" in body, body["model"], body["keep_alive"]) for body in host.asked] == [(True, NAME, -1)]
    # Anything else could make the server load the model anew.
    assert set(host.asked[0]["options"]) == {"num_predict", "temperature"}
    assert host.asked[0]["logprobs"] is True and host.asked[0]["top_logprobs"] == 5
    assert (
        found.answer.text == "x"
        and found.answer.content.startswith("%s %s" % (NAME, BLOB))
        and found.answer.server == UNIT
    )
    assert found.engine.pid == 4242
    assert found.tokens_per_second == 20.0
    assert found.utilization_peak == {A: 40, B: None}
    assert found.log.layers == 49


def test_all_processes_of_the_host_are_read_once_for_all_instances(gather, monkeypatch):
    calls = []
    monkeypatch.setattr(collecting.listeners, "listeners", lambda: calls.append(1) or [])
    wanted = plan()
    wanted["instances"].append(dict(wanted["instances"][0], name="gpu1", url="http://127.0.0.1:9", models=[]))
    gather(Host([NAME], [engine()]), wanted=wanted)
    assert calls == [1]


class Restarts:
    """Systemd while the server is started again: it tells these processes, one after the other, then the last one."""

    def __init__(self, monkeypatch, *pids):
        self.pids, self.told = list(pids), ""
        monkeypatch.setattr(systemd, "show", self.show)

    def show(self, names):
        self.told = self.pids.pop(0) if len(self.pids) > 1 else self.pids[0]
        return {UNIT: {"ActiveState": "active", "MainPID": self.told}}


@pytest.mark.parametrize("before_sockets", [True, False])
def test_sockets_and_main_processes_are_of_one_moment(monkeypatch, before_sockets):
    """Also where the server is started again just before the sockets are read, or just after that."""
    restarts = Restarts(monkeypatch, "4200", "4300")
    monkeypatch.setattr(
        collecting.listeners, "listeners", lambda: [{"pid": restarts.pids[0] if before_sockets else restarts.told}]
    )
    sockets, properties = collecting._listening([UNIT])
    assert sockets == [{"pid": "4300"}] and properties[UNIT]["MainPID"] == "4300"


def test_a_server_that_was_started_again_during_the_check_is_the_one_that_listens(gather, monkeypatch):
    host, wanted = Host([NAME], [engine()]), plan()

    def sockets():
        host.engines.clear()
        port = int(wanted["instances"][0]["url"].rpartition(":")[2])
        return [{"address": "127.0.0.1", "port": port, "pid": 4300, "process": "ollama", "unit": UNIT}]

    monkeypatch.setattr(collecting.listeners, "listeners", sockets)
    seen = gather(host, wanted=wanted, between=lambda: Restarts(monkeypatch, "4200", "4300"))
    instance = seen.instances["gpu0-1"]
    assert instance.unit["MainPID"] == "4300" and instance.listener["pid"] == 4300
    assert model_of(seen).died == (
        "process 4242 ended with its server, which was restarted during this check (process 4200, then 4300)"
    )


def test_an_engine_that_has_mapped_more_since_is_the_same_one(gather, monkeypatch):
    host = Host([NAME], [engine()])
    looks = []

    def engines(unit, **_how):
        looks.append(unit)
        return [dataclasses.replace(one, mapped=["/m/%d" % len(looks)]) for one in host.engines]

    def patch():
        monkeypatch.setattr(evidence_engines, "engines", engines)

    assert model_of(gather(host, between=patch)).stayed is True and len(looks) > 1
    again = iter(range(100))

    def started_again(unit, **_how):
        return [dataclasses.replace(one, started=next(again)) for one in host.engines]

    def patch_again():
        monkeypatch.setattr(evidence_engines, "engines", started_again)

    assert model_of(gather(host, between=patch_again)).stayed is None


def test_what_is_not_loaded_is_loaded_with_the_plans_keep_alive(gather):
    host = Host()
    wanted = plan()
    wanted["instances"][0]["models"][0]["keep_alive"] = "10m"
    found = model_of(gather(host, wanted=wanted))
    assert host.asked[0] == {"model": NAME, "keep_alive": "10m", "stream": False}
    assert found.loaded and found.load_seconds is not None and found.died is None


def test_nothing_is_loaded_or_generated_when_it_is_not_wanted(gather):
    host = Host()
    found = model_of(gather(host, load=False, generate=False))
    assert host.asked == []
    assert found.loaded is False
    host = Host([NAME], [engine()])
    assert model_of(gather(host, load=False, generate=False)).utilization_peak is None
    assert host.asked == []


def test_a_model_on_demand_is_left_to_the_request_that_wants_it(gather):
    wanted = plan()
    wanted["instances"][0]["models"][0]["resident"] = False
    host = Host()
    found = model_of(gather(host, wanted=wanted))
    assert host.asked == [] and not found.loaded
    host = Host([NAME], [engine()])
    assert model_of(gather(host, wanted=wanted)).answered, "while it is loaded it is checked like every other"
    assert [("prompt" in body, body["model"]) for body in host.asked] == [(True, NAME)]


def test_nothing_is_loaded_where_that_could_evict_a_model(gather):
    host = Host(["stray:latest"], [engine()])
    found = model_of(gather(host))
    assert host.asked == []
    assert found.would_evict == ["stray:latest"]


def test_a_model_is_found_under_the_name_that_the_store_has(gather):
    """Ollama matches names without case, and goes on with the case of the model that was there first."""
    host = Host([NAME.upper()], [engine()])
    found = model_of(gather(host))
    assert found.loaded and not found.would_evict and "prompt" in host.asked[0]


def test_a_model_that_is_only_listed_is_loaded_again(gather):
    """/api/ps goes on listing a model whose engine was killed."""
    host = Host([NAME], [])
    found = model_of(gather(host))
    assert "prompt" not in host.asked[0]
    assert found.died is None and found.engine.pid == 4242


def test_without_loading_it_is_dead_and_a_generation_does_not_hide_that(gather):
    host = Host([NAME], [])
    found = model_of(gather(host, load=False))
    assert host.asked == []
    assert "gone" in found.died


def test_an_engine_that_dies_after_the_load(gather):
    found = model_of(gather(Host(dies=True)))
    assert found.died


def test_an_engine_that_is_replaced_while_it_generates(gather, monkeypatch):
    host = Host([NAME], [engine()])

    def generate(request, handler):
        host.engines = [engine(pid=4300)]
        return 200, {"response": "x", "eval_count": 1, "eval_duration": 1, "done": True}

    host.generate = generate
    assert "4242" in model_of(gather(host)).died


def test_a_load_that_fails_keeps_the_servers_words(gather):
    host = Host(load_answer=(500, {"error": "llama-server process has terminated: exit status 1"}))
    assert model_of(gather(host)).load_error == "llama-server process has terminated: exit status 1"


def test_a_server_that_is_down(gather):
    wanted = plan()
    gather(Host(), wanted=wanted)  # sets the pieces up
    wanted["instances"][0]["url"] = "http://127.0.0.1:9"
    instance = collecting.collect(wanted, timeout=1).instances["gpu0-1"]
    assert instance.reachable is False and "127.0.0.1:9" in instance.error


def test_a_stall_is_given_up_and_progress_is_not(gather, monkeypatch):
    monkeypatch.setattr(proc, "activity", lambda unit: 1)
    host = Host()
    host.generate = lambda request, handler: __import__("time").sleep(60) or (200, {})
    monkeypatch.setattr(observer.Observer, "__init__", _short(observer.Observer.__init__))
    assert "has made no progress" in model_of(gather(host)).load_error
    numbers = iter(range(10**6))
    monkeypatch.setattr(proc, "activity", lambda unit: next(numbers))
    host = Host()
    slow = host.generate
    host.generate = lambda request, handler: __import__("time").sleep(0.6) or slow(request, handler)
    assert model_of(gather(host)).load_error is None


def _short(original):
    def build(self, instance, timeout, properties):
        original(self, instance, timeout, properties)
        self.timeout = 0.2

    return build


def test_an_engine_is_found_by_its_blob_and_its_context(gather):
    """The plain and the optimized model share a blob."""
    host = Host(
        [NAME, "llama4:16x17b"], [engine(1, context="4096"), engine(2, context="32768"), engine(3, model="sha256-2")]
    )
    assert model_of(gather(host)).engine.pid == 2


def test_without_a_running_unit_nothing_is_said_about_engines(gather):
    found = model_of(gather(Host([NAME], []), pid="0"))
    assert found.died is None and found.tokens_per_second == 20.0


def test_what_a_journal_no_longer_has_is_known_to_be_missing(gather, monkeypatch):
    """Where it cannot be read, or a user reads it who may not see all, nothing is known."""
    host = Host([NAME], [engine()])
    wanted = plan()
    gather(host, wanted=wanted)
    for answer, user, missing in (
        ((["other lines"], None), 1000, True),
        (([], None), 0, True),
        (([], None), 1000, False),
        (([], "journalctl cannot be run"), 0, False),
    ):
        monkeypatch.setattr(systemd, "journal", lambda unit, since, answer=answer: answer)
        monkeypatch.setattr(observer.os, "geteuid", lambda user=user: user)
        with serving(host.routes()) as double:
            wanted["instances"][0]["url"] = double.url
            found = model_of(collecting.collect(wanted, timeout=5))
        assert found.log is None and bool(found.log_missing) is missing


def test_a_model_that_is_loaded_again_says_so(gather):
    found = model_of(gather(Host([NAME], [])))
    assert NAME in found.reloaded and "loaded the model again" in found.reloaded
    assert model_of(gather(Host())).reloaded is None


def test_the_use_of_the_gpus_is_read_before_something_is_loaded(gather, monkeypatch):
    used = iter([1 * GIB, 30 * GIB])

    def inventory(timeout):
        return {"state": "ok", "gpus": [{"uuid": A, "memory": {"used_bytes": next(used)}, "processes": []}]}, None

    def with_inventory(host):
        wanted = plan()
        gather(Host([NAME], [engine()]))  # sets the pieces up
        monkeypatch.setattr(evidence_engines, "engines", lambda unit, **_how: list(host.engines))
        monkeypatch.setattr(proc, "is_alive", lambda pid, started, root="/proc": True)
        monkeypatch.setattr(collecting.nvml, "read_inventory", inventory)
        with serving(host.routes()) as double:
            wanted["instances"][0]["url"] = double.url
            return collecting.collect(wanted, timeout=5)

    seen = with_inventory(Host())
    assert seen.used_before == {A: 1 * GIB} and seen.inventory["gpus"][0]["memory"]["used_bytes"] == 30 * GIB
    used = iter([30 * GIB])
    assert with_inventory(Host([NAME], [engine()])).used_before == {}


def test_a_generation_that_is_not_wanted_or_not_possible_says_why(gather):
    assert "no generation" in model_of(gather(Host([NAME], [engine()]), generate=False)).not_generated
    host = Host([NAME], [engine()])
    host.generate = lambda request, handler: (400, {"error": '"x" does not support generate'})
    found = model_of(gather(host))
    assert "does not support" in found.not_generated and found.generation_error is None and found.answered is None
    assert found.answer.vector == (0.6, 0.8) and found.vectors_only
    found = model_of(gather(Host([NAME], [engine()])))
    assert found.answered is True and found.stayed is True and found.not_generated is None
    assert found.busy_processes == {A: {4242: 40}, B: None}


def test_an_answer_without_a_token_is_none(gather):
    host = Host([NAME], [engine()])
    host.generate = lambda request, handler: (200, {"response": "", "done": True})
    found = model_of(gather(host))
    assert found.answered is None and "no token" in found.generation_error


@pytest.mark.parametrize("tokens, speed", [(1, None), (7, None), (8, 8.0)])
def test_a_short_answer_tells_no_speed(gather, tokens, speed):
    """One token takes "1 us" by the clock of the engine: a change that is good would be slower for ever after it."""
    host = Host([NAME], [engine()])
    answer = {"response": "x", "done": True, "eval_count": tokens, "eval_duration": 10**9}
    host.generate = lambda request, handler: (200, answer)
    found = model_of(gather(host))
    assert found.tokens_per_second == speed and found.answered is True


@pytest.mark.parametrize(
    "figures, speed", [(("64", 5), None), ((64, "5"), None), ((64, True), None), ((64, 10**9), 64.0)]
)
def test_texts_in_place_of_numbers_are_no_speed(gather, figures, speed):
    host = Host([NAME], [engine()])
    answer = {"response": "x", "done": True, **dict(zip(("eval_count", "eval_duration"), figures))}
    host.generate = lambda request, handler: (200, answer)
    found = model_of(gather(host))
    assert found.tokens_per_second == speed
    assert (found.generation_error is None) is isinstance(figures[0], int)


def test_a_list_of_loaded_models_without_names_is_no_answer_of_the_server(gather):
    seen = gather(Host([None], [engine()]))
    assert not seen.instances["gpu0-1"].reachable and "without a name" in seen.instances["gpu0-1"].error


def test_an_engine_that_is_stopped_after_its_answer(gather, monkeypatch):
    monkeypatch.setattr(proc, "is_stopped", lambda pid, root="/proc": pid == 4242)
    found = model_of(gather(Host([NAME], [engine()])))
    assert found.answered is True and "kill -CONT 4242" in found.died


def test_what_the_store_has_under_an_alias(gather):
    assert model_of(gather(Host([NAME], [engine()]))).alias_digests == {}
    wanted = plan()
    wanted["instances"][0]["models"][0]["aliases"] = ["chat"]
    assert model_of(gather(Host([NAME], [engine()]), wanted=wanted)).alias_digests == {"chat:latest": None}


def test_what_server_and_store_say_of_the_model(gather):
    seen = gather(Host([NAME], [engine()]))
    found, instance = model_of(seen), seen.instances["gpu0-1"]
    assert (found.served_file, found.base_file) == (BLOB, BLOB)
    assert found.stored_digest == "5" * 64
    assert instance.version == "0.32.15" and instance.listener["pid"] == os.getpid()


def test_the_rules_of_who_may_connect_are_observed(gather, monkeypatch):
    told = {"wanted": "a" * 32, "loaded": None, "problem": None}
    monkeypatch.setattr(collecting.firewall, "rules", lambda units: dict(told))
    assert gather(Host([NAME], [engine()]), generate=False).rules == Rules("a" * 32)
