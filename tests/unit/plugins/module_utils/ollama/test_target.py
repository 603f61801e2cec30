# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is known of one instance: from its server, or from its store."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError, OllamaUnreachable
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import Outcome, Target, content_in, find

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient, digest_of
from tests.unit.plugins.module_utils.ollama.test_store import put

TINY = parse("tiny")


def test_the_server_is_asked_once_until_something_changes():
    client = FakeClient({"tiny": ""})
    target = Target(client)
    assert target.digest(TINY) == target.digest(TINY) == digest_of("tiny:latest") and client.asked == 1
    client.models["other:latest"] = ""
    assert target.digest(parse("other")) is None
    target.forget()
    assert target.digest(parse("other")) is not None and client.asked == 2


def test_a_model_is_found_in_any_case():
    assert find([{"name": "Tiny:Latest"}], TINY) == {"name": "Tiny:Latest"}
    assert find([{"name": "not a name!"}, {"model": "tiny"}], TINY) == {"model": "tiny"}
    assert find([{}, {"name": "tiny:other"}], TINY) is None


def test_a_stopped_server_is_no_error_until_it_is_required(tmp_path):
    store = Store(str(tmp_path / "gpu0"))
    digest = put(store, TINY, b"a")
    target = Target(FakeClient(running=False), store)
    assert not target.reachable() and target.digest(TINY) == digest
    assert target.content(TINY) == content_in(store, TINY) and target.content(parse("other")) is None
    with pytest.raises(OllamaUnreachable):
        target.require_server()
    assert Target(FakeClient(running=False)).digest(TINY) is None
    Target(FakeClient()).require_server()


def test_an_answer_that_is_an_error_is_raised():
    client = FakeClient()

    def broken():
        raise OllamaError(500, "broken")

    client.tags = broken
    for ask in (Target(client).reachable, Target(client).require_server):
        with pytest.raises(OllamaError):
            ask()


def test_a_model_that_goes_meanwhile_has_no_content():
    client = FakeClient({"tiny": ""})
    target = Target(client)
    assert target.digest(TINY)
    client.models.clear()
    assert target.content(TINY) is None


def test_an_outcome_changes_something_unless_its_action_is_none():
    assert not Outcome().changed and Outcome("pull").changed
