# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lists of models; what is done to each is in the tests of the modules model and instance_models."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import ensure, ensure_list, present
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Outcome

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient
from tests.unit.plugins.module_utils.ollama.test_ensure import wanted
from tests.unit.plugins.module_utils.ollama.test_store import put


def test_states_are_reached_with_one_server_for_an_instance(monkeypatch):
    client = FakeClient({"tiny": ""})
    monkeypatch.setattr(ensure, "OllamaClient", lambda url, timeout: client)
    models = [wanted(state="loaded"), wanted(state="unloaded"), wanted(state="absent"), wanted(state="absent")]
    progress = ensure_list.ensure_all(models)
    assert [outcome.action for model, outcome in progress.done] == ["load", "unload", "delete", "none"]
    assert progress.message() == ""


def test_a_failure_skips_the_rest_of_its_instance_and_no_other(monkeypatch):
    client = FakeClient({"tiny": ""})
    monkeypatch.setattr(ensure, "OllamaClient", lambda url, timeout: client)
    progress = ensure_list.ensure_all(
        [
            wanted(state="loaded"),
            wanted("gpu1", state="loaded", name="other"),
            wanted("gpu1", state="absent"),
            wanted(state="unloaded"),
            wanted("gpu2", state="loaded", name="third"),
        ]
    )
    assert [(model.instance, outcome.action) for model, outcome in progress.done] == [
        ("gpu0", "load"),
        ("gpu0", "unload"),
    ]
    assert [model.instance for model, reason in progress.failures] == ["gpu1", "gpu2"]
    assert [(model.instance, model.state) for model in progress.skipped] == [("gpu1", "absent")]
    no_model = "of instance %s: the server at http://127.0.0.1:11434 has no model %s:latest to load; "
    assert progress.message() == (
        "other:latest " + no_model % ("gpu1", "other") + "bring it with state: present first. "
        "third:latest " + no_model % ("gpu2", "third") + "bring it with state: present first. "
        "Apart from that, tiny:latest of gpu0 was loaded, tiny:latest of gpu0 was unloaded; this stays, and the next "
        "run goes on from there. Not begun: tiny:latest of gpu1 (absent)."
    )


def test_nothing_is_done_where_an_address_is_wrong(monkeypatch):
    client = FakeClient({"tiny": ""})

    def connect(url, timeout):
        if url != client.url:
            raise ModelError("wrong address")
        return client

    monkeypatch.setattr(ensure, "OllamaClient", connect)
    progress = ensure_list.ensure_all([wanted(state="absent"), wanted("gpu1", url="http://other:1")])
    assert progress.done == [] and client.called == []
    assert [model.instance for model, reason in progress.failures] == ["gpu1"] and len(progress.skipped) == 1
    assert "No model was changed." in progress.message()


@pytest.mark.parametrize("action", sorted(set(ensure_list._DONE)))
def test_every_action_has_its_word(action):
    progress = ensure_list.Progress([(wanted(), Outcome(action))], [(wanted(), "a reason")])
    assert "tiny:latest of gpu0 was " in progress.message()


def test_models_are_brought_from_stores_on_the_host_without_a_server(tmp_path, monkeypatch):
    """What no store has is left, and no registry is asked for it."""

    def refused(*_arguments, **_options):
        raise AssertionError("a registry was asked")

    monkeypatch.setattr(present, "Registry", refused)
    source = Store(str(tmp_path / "gpu1"))
    digest = put(source, parse("tiny"), b"x")
    given = {"store": str(tmp_path / "gpu0"), "link_from": [source.path], "url": "http://127.0.0.1:1"}
    models = [
        wanted(**given),
        wanted(name="missing", **given),
        wanted(name="made", **{**given, "from": "missing"}),
        wanted(name="plain", same_as="tiny", **given),
        wanted(name="tiny", state="loaded", url="http://127.0.0.1:1"),
    ]
    assert [(str(one.name), outcome.action) for one, outcome in ensure_list.link_all(models)] == [
        ("tiny:latest", "link"),
        ("plain:latest", "alias"),
    ]
    assert Store(str(tmp_path / "gpu0")).digest(parse("plain")) == digest
    assert ensure_list.link_all(models) == []


def test_each_entry_is_worked_through_in_what_the_caller_gives(monkeypatch):
    told = []

    @contextlib.contextmanager
    def around(model):
        told.append("begin %s" % model.instance)
        yield
        told.append("end %s" % model.instance)

    def fails_on_gpu1(model, target, check_mode):
        told.append("work")
        if model.instance == "gpu1":
            raise ModelError("no")
        return Outcome()

    monkeypatch.setattr(ensure_list, "ensure", fails_on_gpu1)
    progress = ensure_list.ensure_all([wanted("gpu0"), wanted("gpu1")], around=around)
    assert told == ["begin gpu0", "work", "end gpu0", "begin gpu1", "work"] and len(progress.failures) == 1


def test_what_an_earlier_step_did_is_told_once():
    linked, again = Outcome("link", pulled_bytes=0), Outcome("none", header_differs=True)
    progress = ensure_list.Progress(
        [(wanted(), again), (wanted("gpu1"), Outcome("pull")), (wanted(state="loaded"), again)]
    )
    told = progress.with_earlier([(wanted(), linked), (wanted("gpu1"), linked)])
    assert [outcome.action for _wanted, outcome in told.done] == ["link", "pull", "none"]
    assert told.done[0][1].header_differs is True and linked.header_differs is None
