# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""When a model is loaded, loaded again or left alone."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import loading
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaUnreachable
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Target

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient

TINY = parse("tiny")


@pytest.mark.parametrize("value, api", [("-1", -1), (-1, -1), ("600", 600), ("10m", "10m"), ("1h30m", "1h30m")])
def test_keep_alive_as_the_api_takes_it(value, api):
    assert loading.check_keep_alive(value) == api


@pytest.mark.parametrize("value", ["0", 0, "0s", "-0m", "soon", "", True, "10 m"])
def test_other_values_of_keep_alive_are_refused(value):
    with pytest.raises(ModelError):
        loading.check_keep_alive(value)


def test_load_repeat_and_keep():
    client = FakeClient({"tiny": "num_ctx 2048"})
    assert loading.ensure_loaded(Target(client), TINY, check_mode=True).action == "load" and not client.called
    outcome = loading.ensure_loaded(Target(client), TINY, "10m")
    assert outcome.action == "load" and outcome.loaded["context_length"] == 2048
    assert loading.ensure_loaded(Target(client), TINY, "10m").action == "none"
    assert loading.ensure_loaded(Target(client), TINY, -1).action == "keep_alive"
    assert loading.ensure_loaded(Target(client), TINY, -1).action == "none"
    assert [call[0] for call in client.called] == ["load", "load"]


@pytest.mark.parametrize(
    "change, reason",
    [({"digest": "0" * 64}, "older digest"), ({"context_length": 512}, "context of 512 tokens instead of 2048")],
)
def test_an_older_state_is_unloaded_first(change, reason):
    client = FakeClient({"tiny": "num_ctx 2048"})
    loading.ensure_loaded(Target(client), TINY)
    client.loaded["tiny:latest"].update(change)
    outcome = loading.ensure_loaded(Target(client), TINY, check_mode=True)
    assert outcome.action == "reload" and reason in outcome.before["stale"]
    assert loading.ensure_loaded(Target(client), TINY).action == "reload"
    assert [call[0] for call in client.called] == ["load", "unload", "load"]


def test_a_context_beyond_the_trained_one_is_no_difference():
    client = FakeClient({"tiny": "num_ctx 8192"})
    loading.ensure_loaded(Target(client), TINY)
    client.loaded["tiny:latest"]["context_length"] = 4096
    assert loading.ensure_loaded(Target(client), TINY).action == "none"


def test_what_cannot_be_loaded_is_said():
    for target in (Target(FakeClient()), Target(FakeClient(running=False))):
        assert loading.ensure_loaded(target, TINY, check_mode=True).action == "load"
    with pytest.raises(ModelError, match="state: present first"):
        loading.ensure_loaded(Target(FakeClient()), TINY)
    with pytest.raises(OllamaUnreachable):
        loading.ensure_loaded(Target(FakeClient(running=False)), TINY)
    client = FakeClient({"tiny": ""})
    client.dies_when_loaded = True
    with pytest.raises(ModelError, match="no longer lists it"):
        loading.ensure_loaded(Target(client), TINY)


def test_unload(monkeypatch):
    client = FakeClient({"tiny": ""})
    assert loading.ensure_unloaded(Target(client), TINY).action == "none"
    loading.ensure_loaded(Target(client), TINY)
    assert loading.ensure_unloaded(Target(client), TINY, check_mode=True).action == "unload" and client.loaded
    assert loading.ensure_unloaded(Target(client), TINY).action == "unload" and not client.loaded
    assert loading.ensure_unloaded(Target(FakeClient(running=False)), TINY, check_mode=True).action == "none"
    with pytest.raises(OllamaUnreachable):
        loading.ensure_unloaded(Target(FakeClient(running=False)), TINY)


def test_an_unload_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(loading, "UNLOAD_SECONDS", 0)
    client = FakeClient({"tiny": ""})
    loading.ensure_loaded(Target(client), TINY)
    client.unload = lambda name: None
    with pytest.raises(ModelError, match="a request is using it"):
        loading.unload(Target(client), TINY)
    del client.unload
    client.models.clear()
    with pytest.raises(ModelError, match="deleted while it was loaded"):
        loading.unload(Target(client), TINY)
