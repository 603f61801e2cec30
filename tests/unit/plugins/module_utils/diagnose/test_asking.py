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
        return list(self.vector)

    def show(self, name):
        return {"model_info": self.info}


def ask(monkeypatch, client, **entry):
    monkeypatch.setattr(asking, "OllamaClient", client)
    (answer,) = asking.ask([server(loaded=[dict({"name": "tiny", "digest": "d"}, **entry)])])
    return answer


def test_an_answer_with_log_probabilities(monkeypatch):
    tokens = [{"token": " a", "logprob": -0.5, "top_logprobs": [{"token": " a", "logprob": -0.5}]}]
    client = Client({"response": " a", "logprobs": tokens})
    answer = ask(monkeypatch, client)
    assert answer.tokens == ((" a", -0.5, ((" a", -0.5),)),) and answer.text == " a" and answer.content == "d"
    ((given, named),) = client.asked
    assert given[2]["temperature"] == 0 and named == {"top_logprobs": 5}


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
