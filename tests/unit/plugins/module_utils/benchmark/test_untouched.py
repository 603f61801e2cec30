# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is measured of an untouched Ollama, with a server of the rig in its place."""

from __future__ import annotations

import contextlib
import dataclasses
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import untouched
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.figures import Wanted
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.in_force import PlanChanged
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.paused import NotMeasured, NotRestored, Pause
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.run import Busy
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.rig.models import store
from tests.rig.ollama import running

SERVED = "tiny:latest-optimized"
SHORT = Wanted(repeats=1, tokens=4, prompts=(16,), loads=1, quiet_timeout=0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A store with the models as they were pulled."""
    place = tmp_path_factory.mktemp("untouched") / "models"
    for name in ("tiny", "vectors"):
        store.write_into_store(name, place)
    return place


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    monkeypatch.setattr(untouched, "Store", lambda path, user: Store(path))


def plan(models, *names, slots=2, instances=2):
    entries = [{"name": name, "create_as": name + "-optimized", "parallel": slots} for name in names]
    return {
        "ollama_version": "0.32.15",
        "models_dir": str(models.parent),
        "instances": [
            {
                "name": "gpu%d" % number,
                "unit": "ollama@gpu%d.service" % number,
                "url": "http://127.0.0.1:1",
                "store": str(models),
                "models": [dict(entry) for entry in entries],
            }
            for number in range(instances)
        ],
    }


@pytest.fixture
def measured(models, tmp_path, monkeypatch):
    """Measure a plan on a server; `stopped` are the models for which instances were stopped."""
    stopped = []
    program, gpus = running.install(tmp_path / "release"), running.gpus(tmp_path / "gpus", "rtx-4090-x2")
    server = running.Server(program, tmp_path, models, gpus, {"OLLAMA_MAX_LOADED_MODELS": "1"}).wait()

    @contextlib.contextmanager
    def serving(_plan, sources, seconds):
        assert measure.is_locked, "nobody changes the plan or asks for anything while it is looked at"
        stopped.append({str(name): source for name, source in sources.items()})
        try:
            yield Pause("http://127.0.0.1:%d" % server.port, time.monotonic() + seconds)
            for failure in measure.failures:
                raise failure
        finally:
            assert measure.is_locked

    @contextlib.contextmanager
    def locked(_digest, _wait, shared, notes):
        assert not shared
        measure.is_locked = True
        try:
            yield
        finally:
            measure.is_locked = False

    def is_busy(unit):
        assert measure.is_locked or unit == "ollama-untouched.service"
        return unit in measure.busy

    monkeypatch.setattr(untouched, "untouched_server", serving)
    monkeypatch.setattr(untouched, "plan_in_force", locked)
    monkeypatch.setattr(untouched.run.quiet, "is_busy", is_busy)

    def measure(wanted_plan, wanted=SHORT, outage_limit=600, found=None):
        found = found or untouched.begun(wanted_plan)
        untouched.measure_untouched(wanted_plan, wanted, 0, outage_limit, found)
        return found

    measure.stopped, measure.busy, measure.is_locked, measure.failures = stopped, set(), False, []
    yield measure
    server.stop()


def test_the_model_as_it_was_pulled_gets_as_many_requests_as_the_plan(models, measured):
    found = measured(plan(models, "tiny:latest"))
    assert [(one["model"], one["instances"], one["streams"]) for one in found.measurements] == [
        (SERVED, ["untouched Ollama"], streams) for streams in (1, 2, 4)
    ]
    assert [(one["model"], one["instances"]) for one in found.loads] == [(SERVED, ["untouched Ollama"])]
    (loaded,) = found.loaded
    assert loaded["model"] == SERVED and loaded["context_length"] > 0
    assert 0 < loaded["size_vram_bytes"] <= loaded["size_bytes"]
    ((name, source),) = measured.stopped[0].items()
    assert name == "tiny:latest" and (str(source.name), source.pulled) == ("tiny:latest", True)
    assert found.release == "0.32.15" and found.notes == []


def test_a_model_that_was_not_pulled_has_the_parameters_of_the_plan(models, measured):
    wanted = plan(models, "tiny", instances=1)
    wanted["instances"][0]["models"][0].update(name="mine", create_as="tiny")
    found = measured(wanted)
    ((name, source),) = measured.stopped[0].items()
    assert name == "tiny:latest" and not source.pulled and found.measurements
    assert found.notes == [
        "tiny:latest was measured with the parameters of the plan: nothing was pulled as mine:latest."
    ]


def test_models_that_do_not_stay_loaded_together_and_those_that_make_vectors(models, measured):
    found = measured(plan(models, "tiny:latest", "vectors:latest", instances=1, slots=1))
    told = " ".join(found.notes)
    assert "vectors:latest-optimized of untouched Ollama makes vectors only" in told
    assert "does not keep all models loaded at the same time: %s." % SERVED in told
    assert [one["model"] for one in found.measurements] == [SERVED]
    assert "Not measured" not in told, "nothing is left of a model that makes vectors"


def test_nothing_is_stopped_while_others_are_served(models, measured):
    measured.busy.add("ollama@gpu1.service")
    with pytest.raises(Busy, match="ollama@gpu1.service"):
        measured(plan(models, "tiny:latest"))
    assert measured.stopped == []


def test_what_the_time_was_not_enough_for_is_said(models, measured, monkeypatch):
    """The time is over when the first model is loaded, of the second one nothing is known."""
    monkeypatch.setattr(Pause, "is_over", lambda pause: True)
    found = measured(plan(models, "tiny:latest", "vectors:latest"))
    assert found.measurements == [] and [one["model"] for one in found.loads] == [SERVED]
    assert found.notes == [
        "Not measured, because the instances were stopped for 600 seconds (outage_limit): %s with prompts of 16 tokens "
        "and 1, 2, 4 requests at a time; vectors:latest-optimized with prompts of 16 tokens and 1, 2, 4 requests at a "
        "time." % SERVED
    ]


def test_what_was_measured_before_the_end_of_the_time_is_kept(models, measured, monkeypatch):
    looks = iter([False, False, True])
    monkeypatch.setattr(Pause, "is_over", lambda pause: next(looks))
    found = measured(plan(models, "tiny:latest"))
    assert [one["streams"] for one in found.measurements] == [1, 2]
    assert found.notes[-1].endswith(": %s with prompts of 16 tokens and 4 requests at a time." % SERVED)


def test_a_prompt_that_does_not_fit_is_not_missed_where_the_time_was_not_enough(models, measured, monkeypatch):
    looks = iter([False, True])
    monkeypatch.setattr(Pause, "is_over", lambda pause: next(looks))
    found = measured(plan(models, "tiny:latest"), dataclasses.replace(SHORT, prompts=(16, 10**6)))
    assert [one["streams"] for one in found.measurements] == [1]
    does_not_fit, left = found.notes
    assert does_not_fit == "A prompt of 1000000 tokens may not fit into %s of untouched Ollama." % SERVED
    assert left.endswith(": %s with prompts of 16 tokens and 2, 4 requests at a time." % SERVED)


@pytest.mark.parametrize(
    "failure, is_raised, why",
    [
        (NotMeasured("the server was stopped.", True), False, "the instances were stopped for 600 seconds"),
        (NotMeasured("engine died.", False), True, "the measurement failed"),
        (NotRestored("gpu0 is gone.", NotMeasured("engine died.", False)), True, "the measurement failed"),
        (NotRestored("gpu0 is gone.", NotMeasured("x.", True)), True, "the instances were stopped for 600 seconds"),
    ],
    ids=str,
)
def test_what_was_measured_before_a_failure_is_kept(models, measured, monkeypatch, failure, is_raised, why):
    looks = iter([False, True])
    monkeypatch.setattr(Pause, "is_over", lambda pause: next(looks))
    measured.failures = [failure]
    wanted_plan = plan(models, "tiny:latest")
    found = untouched.begun(wanted_plan)
    with pytest.raises(type(failure)) if is_raised else contextlib.nullcontext():
        measured(wanted_plan, found=found)
    assert [one["streams"] for one in found.measurements] == [1]
    assert found.notes[-1].startswith("Not measured, because %s" % why)
    assert "and 2, 4 requests at a time" in found.notes[-1]


def test_another_plan_is_not_measured(models, measured, monkeypatch):
    def changed(*_arguments, **_options):
        raise PlanChanged("another one.")

    monkeypatch.setattr(untouched, "plan_in_force", changed)
    with pytest.raises(PlanChanged):
        measured(plan(models, "tiny:latest"))
    assert measured.stopped == []
