# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A server is asked again where its trouble may pass, and not for ever."""

from __future__ import annotations

import types

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.attempts import answered
from requests import exceptions


def answer(status):
    """An answer that notes whether it was closed."""
    found = types.SimpleNamespace(status_code=status, closed=False)
    found.close = lambda: setattr(found, "closed", True)
    return found


@pytest.fixture(name="pauses", autouse=True)
def _pauses(monkeypatch):
    """The module's pauses, and not those of other threads, such as a server of an earlier test."""
    pauses = []
    monkeypatch.setattr(attempts, "time", types.SimpleNamespace(sleep=pauses.append))
    return pauses


def server(*outcomes):
    """A function that asks a server with these answers and exceptions, one after the other."""
    left = list(outcomes)

    def get():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return get


@pytest.mark.parametrize("status", [200, 206, 307, 404, 499])
def test_an_answer_is_taken_at_once(status, pauses):
    given = answer(status)
    assert answered(server(given), exceptions) is given and not given.closed and pauses == []


@pytest.mark.parametrize(
    "trouble", [answer(500), answer(503), exceptions.ReadTimeout(), exceptions.ConnectionError("reset")]
)
def test_what_passes_is_asked_again_after_pauses_that_grow(trouble, pauses):
    good = answer(200)
    assert answered(server(trouble, trouble, good), exceptions) is good and not good.closed
    assert pauses == [0.5, 1.0] and getattr(trouble, "closed", True)


def test_what_stays_is_the_last_answer_or_exception(pauses):
    last = answer(503)
    assert answered(server(answer(500), answer(502), last), exceptions) is last and not last.closed
    silence = exceptions.ReadTimeout("the third")
    with pytest.raises(exceptions.ReadTimeout, match="the third"):
        answered(server(exceptions.ReadTimeout(), answer(500), silence), exceptions)
    assert pauses == [0.5, 1.0] * 2


@pytest.mark.parametrize("trouble", [exceptions.SSLError(), exceptions.ConnectTimeout(), ValueError()])
def test_what_does_not_pass_is_not_asked_again(trouble, pauses):
    with pytest.raises(type(trouble)):
        answered(server(trouble), exceptions)
    assert pauses == []
