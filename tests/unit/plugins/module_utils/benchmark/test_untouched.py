# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is measured of an untouched Ollama, with a server of the rig in its place."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import untouched
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.figures import Wanted
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
    monkeypatch.setattr(untouched.run.quiet, "is_busy", lambda unit: False)


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
    def serving(_plan, sources, _wait):
        stopped.append({str(name): source for name, source in sources.items()})
        yield "http://127.0.0.1:%d" % server.port

    monkeypatch.setattr(untouched, "untouched_server", serving)

    def measure(wanted_plan, wanted=SHORT):
        return untouched.measure_untouched(wanted_plan, wanted, 0)

    measure.stopped = stopped
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


def test_nothing_is_stopped_while_others_are_served(models, measured, monkeypatch):
    monkeypatch.setattr(untouched.run.quiet, "is_busy", lambda unit: unit == "ollama@gpu1.service")
    with pytest.raises(Busy, match="ollama@gpu1.service"):
        measured(plan(models, "tiny:latest"))
    assert measured.stopped == []
