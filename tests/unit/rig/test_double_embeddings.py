# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Embedding models on the double of Ollama (server/routes.go, EmbedHandler and scheduleRunner of 0.32)."""

from __future__ import annotations

import math

import pytest

from tests.rig.gpus import state
from tests.rig.models import store
from tests.rig.ollama import running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("double")
    for name in ("vectors", "tiny"):
        store.write_into_store(name, home / "models")
    gpus = running.gpus(home / "gpus", "rtx-4090-x2")
    started = running.Server(running.install(home / "release"), home, home / "models", gpus).wait()
    started.gpus = gpus
    yield started
    started.stop()


def ask(server, path, **body):
    status, _kind, answer = server.request("POST", path, body)
    return status, answer


def loaded(server):
    return [one["name"] for one in server.request("GET", "/api/ps")[2]["models"]]


def test_it_is_loaded_and_unloaded_but_generates_nothing(server):
    refused = (400, {"error": '"vectors" does not support generate'})
    assert ask(server, "/api/generate", model="vectors", keep_alive=-1, stream=False) == refused
    assert ask(server, "/api/generate", model="vectors", prompt="a") == refused and loaded(server) == []
    assert ask(server, "/api/embed", model="vectors", input="") == (200, {"model": "vectors", "embeddings": []})
    assert loaded(server) == ["vectors:latest"]
    assert any("--embedding" in line for line in server.log())
    assert ask(server, "/api/generate", model="vectors", keep_alive=0, stream=False)[0] == 200 and loaded(server) == []


def test_vectors_have_the_width_of_the_model_and_the_length_one(server):
    status, answer = ask(server, "/api/embed", model="vectors", input=["a", "b"])
    (one, other) = answer["embeddings"]
    assert status == 200 and len(one) == len(other) == 64 and one != other and answer["prompt_eval_count"] == 2
    assert math.isclose(sum(number * number for number in one), 1.0, abs_tol=1e-6)
    assert ask(server, "/api/embed", model="vectors", input="a")[1]["embeddings"] == [one]
    assert ask(server, "/api/show", model="vectors")[1]["capabilities"] == ["embedding"]


def test_what_is_no_number_is_zero_in_go(server):
    ask(server, "/api/generate", model="vectors", keep_alive=0, stream=False)
    state.set_lie(str(server.gpus), "not_a_number")
    try:
        assert ask(server, "/api/embed", model="vectors", input="a")[1]["embeddings"] == [[0.0] * 64]
    finally:
        state.set_lie(str(server.gpus), "off")
        ask(server, "/api/generate", model="vectors", keep_alive=0, stream=False)


def test_what_is_refused(server):
    assert ask(server, "/api/embed", model="vectors", input=[1]) == (400, {"error": "invalid input type"})
    assert ask(server, "/api/embed", model="vectors", input="a", dimensions=3)[0] == 501
    status, answer = ask(server, "/api/embed", model="tiny", input="a")
    assert status == 501 and "--embeddings" in answer["error"], "the engine of a model that generates makes no vectors"
