# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is measured of a plan, with servers of the rig that answer in a time that is set."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import run as benchmark
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import OllamaError

from tests.rig.gpus import state
from tests.rig.models import store
from tests.rig.ollama import running


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Two servers with a store."""
    home = tmp_path_factory.mktemp("benchmark")
    program, gpus = running.install(home / "release"), running.gpus(home / "gpus", "rtx-4090-x2")
    with state.edit(str(gpus)) as keys:
        keys["engine.token_ms"] = "5"
    started = []
    for number in range(2):
        models = home / ("models%d" % number)
        for name in ("tiny", "vectors"):
            store.write_into_store(name, models)
        started.append(running.Server(program, home, models, gpus, {"OLLAMA_NUM_PARALLEL": "2"}).wait())
    yield started
    for one in started:
        one.stop()


@pytest.fixture
def busy(monkeypatch):
    """The units that serve others; the servers of the test have none. They are looked at under the lock."""
    found, held = set(), []

    @contextlib.contextmanager
    def plan_in_force(digest, wait, shared, notes):
        assert shared and len(digest) == 64
        held.append(wait)
        try:
            yield
        finally:
            held.pop()

    def is_busy(unit):
        assert held == [0]
        return unit in found

    monkeypatch.setattr(benchmark, "plan_in_force", plan_in_force)
    monkeypatch.setattr(benchmark.quiet, "is_busy", is_busy)
    return found


def plan(servers, **changes):
    model = dict({"name": "tiny", "create_as": "tiny:latest", "parallel": 2, "context_length": 2048}, **changes)
    return {
        "ollama_version": "0.32.15",
        "instances": [
            {
                "name": "gpu%d" % number,
                "unit": "ollama@gpu%d.service" % number,
                "url": "http://127.0.0.1:%d" % server.port,
                "models": [dict(model)],
            }
            for number, server in enumerate(servers)
        ],
    }


SHORT = benchmark.Wanted(repeats=2, tokens=8, prompts=(16, 64), loads=1, quiet_timeout=0)


def measure(wanted_plan, wanted, lock_timeout, found=None):
    """What is measured of a plan."""
    found = found or benchmark.begun(wanted_plan)
    benchmark.run(wanted_plan, wanted, lock_timeout, found)
    return found


def test_instances_and_replicas_are_measured(servers, busy):
    found = measure(plan(servers), SHORT, 0)
    one = [(["gpu%d" % number], words, streams) for number in (0, 1) for words in (16, 64) for streams in (1, 2)]
    all_of_them = [(["gpu0", "gpu1"], words, streams) for words in (16, 64) for streams in (2, 4)]
    measured = [(entry["instances"], entry["prompt"], entry["streams"]) for entry in found.measurements]
    assert measured == one + all_of_them
    for entry in found.measurements:
        assert entry["model"] == "tiny:latest" and entry["disturbed"] == 0
        assert entry["tokens_per_second"]["median"] == 200.0, "a token of the rig takes 5 ms"
        assert entry["requests_per_minute"]["repeats"] == 2 and entry["prompt_tokens"] > 10
        assert entry["first_token_seconds"]["repeats"] == 2 * entry["streams"]
    assert [(entry["instances"], entry["seconds"]["repeats"]) for entry in found.loads] == [
        (["gpu0"], 1),
        (["gpu1"], 1),
    ]
    assert found.release == "0.32.15" and found.tokens == 8 and found.notes == []


def test_every_model_is_loaded_as_the_plan_keeps_it(servers, busy):
    measure(plan(servers[:1], keep_alive=-1), SHORT, 0)
    (entry,) = servers[0].request("GET", "/api/ps")[2]["models"]
    assert entry["name"] == "tiny:latest" and entry["expires_at"] > "2100"


def test_what_is_not_measured_is_said(servers, busy):
    wanted = plan(servers[:1], context_length=100)
    wanted["instances"][0]["models"] += [
        {"name": "other", "resident": False},
        {"name": "vectors", "create_as": "vectors:latest", "parallel": 1},
    ]
    found = measure(wanted, SHORT, 0)
    assert [entry["prompt"] for entry in found.measurements] == [16, 16]
    told = " ".join(found.notes)
    assert "other of gpu0 is loaded on demand" in told and "vectors:latest of gpu0 makes vectors only" in told
    assert "prompt of 64 tokens may not fit" in told and len(found.notes) == 3


def test_a_host_that_serves_others_is_refused(servers, busy):
    busy.add("ollama@gpu1.service")
    with pytest.raises(benchmark.Busy, match="ollama@gpu1.service answers requests of others"):
        measure(plan(servers), SHORT, 0)
    assert measure(plan(servers[:1]), SHORT, 0).measurements


def test_repeats_before_which_others_were_served_are_marked(servers, busy, monkeypatch):
    looks = iter([False, True])  # before everything, and before the first repeat
    monkeypatch.setattr(benchmark.quiet, "is_busy", lambda unit: next(looks, False))
    found = measure(plan(servers[:1]), SHORT, 0)
    assert [entry["disturbed"] for entry in found.measurements] == [1, 0, 0, 0]


def test_nothing_is_unloaded_where_no_load_is_wanted(servers, busy):
    before = servers[0].engines()
    found = measure(plan(servers[:1]), benchmark.Wanted(1, 2, (8,), loads=0, quiet_timeout=0), 0)
    assert found.loads == [] and found.measurements and servers[0].engines() == before != []


def test_a_model_that_is_not_there_is_an_error(servers, busy):
    with pytest.raises(OllamaError, match="not found"):
        measure(plan(servers[:1], create_as="nothing:latest"), SHORT, 0)


def test_what_was_measured_before_a_failure_is_kept(servers, busy, monkeypatch):
    """One server fails in the middle: the figures of the other one stay, and a note says what is missing."""

    def together(clients, *arguments):
        if clients[0].url.endswith(":%d" % servers[1].port) and len(clients) == 2:
            raise OllamaError(500, "the engine died")
        return real(clients, *arguments)

    real = benchmark.together
    monkeypatch.setattr(benchmark, "together", together)
    wanted = plan(servers)
    found = benchmark.begun(wanted)
    with pytest.raises(OllamaError, match="the engine died"):
        measure(wanted, SHORT, 0, found)
    measured = [(entry["instances"], entry["prompt"], entry["streams"]) for entry in found.measurements]
    assert measured == [*((["gpu0"], words, streams) for words in (16, 64) for streams in (1, 2)), (["gpu1"], 16, 1)]
    assert len(found.loads) == 2
    assert found.notes == [
        "Not measured, because the measurement failed: tiny:latest of gpu1 with prompts of 16 tokens and 2 requests at "
        "a time; tiny:latest of gpu1 with prompts of 64 tokens and 1, 2 requests at a time; tiny:latest of gpu0, gpu1 "
        "with prompts of 16 tokens and 2, 4 requests at a time; tiny:latest of gpu0, gpu1 with prompts of 64 tokens "
        "and 2, 4 requests at a time."
    ]


def test_what_is_not_to_be_measured_is_not_missed_after_a_failure(servers, busy):
    wanted = plan(servers[:1], context_length=100)
    wanted["instances"][0]["models"] += [
        {"name": "vectors", "create_as": "vectors:latest", "parallel": 1},
        {"name": "nothing", "create_as": "nothing:latest", "parallel": 1, "context_length": 100},
    ]
    found = benchmark.begun(wanted)
    with pytest.raises(OllamaError, match="not found"):
        measure(wanted, SHORT, 0, found)
    *told, missed = found.notes
    assert [note.split(" of ")[-1] for note in told] == ["gpu0.", "gpu0 makes vectors only and was not measured."]
    assert missed == (
        "Not measured, because the measurement failed: tiny:latest of gpu0 with prompts of 16 tokens and 1, 2 requests "
        "at a time; nothing:latest of gpu0 with prompts of 16 tokens and 1 request at a time."
    )
