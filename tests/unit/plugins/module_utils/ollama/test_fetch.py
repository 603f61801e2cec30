# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""When a fetch server is started and started again. tests/unit/plugins/modules/test_fetched_models.py has real ones."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import fetch, fetch_server
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.ensure import WantedModel
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.ensure_list import Progress
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Outcome

A, B = (WantedModel(parse(name), "present", "", 5, instance="fetch") for name in ("a", "b"))


@pytest.fixture(name="server")
def _server(monkeypatch):
    """What each pass over the models ends with, and which addresses were used."""

    class Server:
        passes: list = []
        addresses: list = []
        runs = False

    found = Server()
    found.passes, found.addresses = [], []

    @contextlib.contextmanager
    def nothing(*unused):
        yield "http://127.0.0.1:5"

    def ensure_all(models, check_mode=False):
        found.addresses.append((models[0].url, check_mode))
        return found.passes.pop(0)

    monkeypatch.setattr(fetch, "ensure_all", ensure_all)
    for name in ("fetching", "running"):
        monkeypatch.setattr(fetch_server, name, nothing)
    monkeypatch.setattr(fetch_server, "is_running", lambda: found.runs)
    monkeypatch.setattr(fetch, "_check_space", lambda *unused: None)
    return found


def done(**actions):
    return Progress(done=[(wanted, Outcome(actions[wanted.name.model])) for wanted in (A, B)])


def test_no_server_is_started_where_nothing_is_pulled_or_created(server):
    server.passes = [done(a="link", b="none"), done(a="link", b="none")]
    assert fetch.fetch_all([A, B], None).done[0][1].action == "link"
    assert server.addresses == [(None, True), (None, False)]
    server.passes = [done(a="pull", b="none")]
    fetch.fetch_all([A, B], None, check_mode=True)
    assert server.addresses[2:] == [(None, True)]


def test_a_server_that_ended_is_started_again_and_nothing_is_forgotten(server):
    broken = Progress(done=[(A, Outcome("pull", pulled_bytes=7))], failures=[(B, "no answer")])
    server.passes = [done(a="pull", b="create"), broken, done(a="none", b="create")]
    found = fetch.fetch_all([A, B], None)
    assert [(outcome.action, outcome.pulled_bytes) for _wanted, outcome in found.done] == [("pull", 7), ("create", 0)]
    assert not found.failures


def test_it_is_given_up_in_the_end(server):
    broken = Progress(failures=[(A, "no answer")], skipped=[B])
    server.passes = [done(a="pull", b="create")] + [broken] * (1 + fetch_server.RESTARTS)
    assert fetch.fetch_all([A, B], None).failures and not server.passes


def test_a_failure_of_a_server_that_runs_is_final(server):
    server.runs = True
    server.passes = [done(a="pull", b="create"), Progress(failures=[(A, "unknown")], skipped=[B]), done(a="x", b="x")]
    assert fetch.fetch_all([A, B], None).failures and len(server.passes) == 1


@pytest.mark.parametrize("free, fits", [(70, True), (69, False)])
def test_all_models_have_to_fit_before_the_first_is_fetched(monkeypatch, tmp_path, free, fits):
    monkeypatch.setattr(fetch.Store, "free_bytes", lambda self: free)
    monkeypatch.setattr(fetch.Store, "begun_bytes", lambda self: 30)
    server = fetch_server.FetchServer("/r", str(tmp_path), user=None)
    twice = [(A, Outcome("pull", "sha256:a", 60)), (B, Outcome("pull", "sha256:a", 60)), (A, Outcome("pull", "b", 40))]
    if fits:
        fetch._check_space(Progress(done=twice), server)
        return
    with pytest.raises(ModelError, match="need 70 bytes more .* where 69 are free: free 1 more"):
        fetch._check_space(Progress(done=twice), server)
