# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What models are asked, and what is kept of their answers."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import asking
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError

from tests.unit.plugins.module_utils.diagnose.builders import server


class Client:
    """A server with these answers."""

    def __init__(self, generated=None, error=None, vector=(), info=None):
        self.generated, self.error, self.vector, self.info = generated, error, vector, info or {}
        self.asked = []

    def __call__(self, url, timeout):
        return self

    def generate(self, *given, **named):
        self.asked.append((given, named))
        if self.error:
            raise OllamaError(400, self.error)
        return self.generated

    def embed(self, *given):
        self.asked.append((given, {}))
        return list(self.vector)

    def show(self, name):
        return {"model_info": self.info}


def ask(monkeypatch, client, of_server=None, **entry):
    monkeypatch.setattr(asking, "OllamaClient", client)
    loaded = [dict({"name": "tiny", "digest": "d"}, **entry)]
    (answer,) = asking.ask([server(**dict(of_server or {}, loaded=loaded))])
    return answer


def test_an_answer_with_log_probabilities(monkeypatch):
    tokens = [{"token": " a", "logprob": -0.5, "top_logprobs": [{"token": " a", "logprob": -0.5}]}]
    client = Client({"response": " a", "logprobs": tokens})
    answer = ask(monkeypatch, client)
    assert answer.tokens == ((" a", -0.5, ((" a", -0.5),)),) and answer.text == " a"
    ((given, named),) = client.asked
    assert given[2]["temperature"] == 0 and named == {"top_logprobs": 5}


def test_a_model_keeps_the_context_that_it_was_loaded_with(monkeypatch):
    """A client's own num_ctx: a request without it would load the model again."""
    client = Client({"response": "x"})
    ask(monkeypatch, client, context_length=16384)
    vectors = Client(error='"x" does not support generate', vector=[1.0])
    ask(monkeypatch, vectors, context_length=2048)
    assert client.asked[0][0][2]["num_ctx"] == 16384
    assert [given[-1]["num_ctx"] for given, _named in vectors.asked if isinstance(given[-1], dict)] == [2048]


@pytest.mark.parametrize("value", [None, 0, "4096", True])
def test_a_context_that_is_not_told_is_not_asked_for(monkeypatch, value):
    client = Client({"response": "x"})
    ask(monkeypatch, client, context_length=value)
    assert "num_ctx" not in client.asked[0][0][2]


def of_cache(kind):
    return {"process": {"OLLAMA_KV_CACHE_TYPE": kind}}


@pytest.mark.parametrize(
    "one, other, alike",
    [
        ({}, {}, True),
        ({}, {"version": "0.31.0"}, False),
        ({}, of_cache("q8_0"), False),
        (of_cache("q8_0"), of_cache("Q8_0"), True),
        ({"process": {}}, of_cache("f16"), True),
    ],
)
def test_servers_of_another_release_or_cache_have_no_replicas(monkeypatch, one, other, alike):
    contents = [ask(monkeypatch, Client({"response": "x"}), of_server).content for of_server in (one, other)]
    assert (contents[0] == contents[1]) is alike and all(text.startswith("d ") for text in contents)


@pytest.mark.parametrize("unknown", [{"version": None}, {"process": None}])
def test_what_a_server_does_not_tell_makes_no_replica(monkeypatch, unknown):
    assert ask(monkeypatch, Client({"response": "x"}), unknown).content == ""
    assert ask(monkeypatch, Client({"response": "x"}), digest=None).content == ""


def test_an_older_release_has_none(monkeypatch):
    assert ask(monkeypatch, Client({"response": "x"})).tokens == ()


def test_an_embedding_model_gives_a_vector(monkeypatch):
    info = {"general.architecture": "bert", "bert.embedding_length": 384}
    answer = ask(monkeypatch, Client(error='"x" does not support generate', vector=[1.0], info=info))
    assert answer.vector == (1.0,) and answer.width == 384 and answer.error is None


def test_an_error_is_kept(monkeypatch):
    assert "no memory" in ask(monkeypatch, Client(error="no memory")).error


@pytest.mark.parametrize(
    "expires, seconds",
    [("2318-11-24T03:37:29.552123456+01:00", [-1]), ("2020-01-01T00:00:00Z", [1]), ("never", [-1]), (None, [-1])],
    ids=["centuries", "over", "words", "nothing"],
)
def test_a_model_stays_loaded_as_long_as_before(monkeypatch, expires, seconds):
    client = Client({"response": "x"})
    ask(monkeypatch, client, expires_at=expires)
    assert client.asked[0][0][3] in seconds


def test_a_model_that_is_kept_for_minutes_stays_as_long(monkeypatch):
    client, now = Client({"response": "x"}), datetime.datetime.now(datetime.timezone.utc)
    ask(monkeypatch, client, expires_at=(now + datetime.timedelta(hours=10)).isoformat())
    assert 35000 < client.asked[0][0][3] <= 36000  # the test may be held up on a busy machine


def test_only_loaded_models_are_asked():
    assert asking.ask([server(loaded=[]), server(loaded=None), server(url=None)]) == []
