# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is shown while a module loads models: beside the module, which runs as any other."""

from __future__ import annotations

import contextlib
import json
import threading
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.plugin_utils import loads_models
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.with_libraries import WithLibraries

from tests.rig import waiting

RESULT = {"verdict": "pass", "instances": [], "diagnosis": []}


class Connection:
    """A connection that knows which one it is a copy of."""

    @property
    def is_first(self):
        return getattr(self, "first", None) is self


class Host(loads_models.LoadsModels):
    """An action whose module ends when the test says so; `looks` are the commands beside it."""

    def __init__(self, broken=False):
        self._task = SimpleNamespace(check_mode=False, no_log=False, action="gpufleet.ollama.placement_check", args={})
        self._connection = Connection()
        self._connection.first = self._connection
        self._host_name, self.broken, self.looks, self.seconds = "node1", broken, [], iter(range(0, 10000, 5))
        self.ends, self.ran_on_first = threading.Event(), None

    def _low_level_execute_command(self, command, sudoable=True):
        self.looks.append((command, sudoable, self._connection.is_first))
        if self.broken:
            raise RuntimeError("the connection is broken")
        models = {"gpu0/llama3.1:8b": {"seconds": next(self.seconds)}}
        return {"stdout": json.dumps({"pid": 7, "finished": False, "models": models})}


@pytest.fixture(name="screen", autouse=True)
def _screen(monkeypatch):
    shown = []

    def module(self, task_vars, wrap_async=False):
        self.ran_on_first = self._connection.is_first
        assert wrap_async or self._task.check_mode or self.ends.wait(waiting.PATIENCE)
        return dict(RESULT)

    monkeypatch.setattr(WithLibraries, "_run_module", module)
    monkeypatch.setattr(loads_models, "PAUSE", 0.01)

    def display(text, stderr=False, screen_only=False, log_only=False):
        assert stderr or log_only, "standard output belongs to the callback"
        shown.append(text)

    monkeypatch.setattr(loads_models, "Display", lambda: SimpleNamespace(display=display))
    return shown


def run(host, until):
    results = []
    thread = threading.Thread(target=lambda: results.append(host._run_module({})), daemon=True)
    thread.start()
    waiting.wait_until(until, "what is waited for")
    host.ends.set()
    thread.join(waiting.PATIENCE)
    assert results == [RESULT]


def test_how_far_a_load_is_stands_on_the_screen_while_the_module_runs(screen):
    host, before = Host(), set(threading.enumerate())
    run(host, lambda: screen)
    assert screen[0].startswith("node1: loading llama3.1:8b on gpu0, 5 s so far")
    command, sudoable, is_first = host.looks[0]
    assert command.startswith("cat %s" % paths.LOAD_PROGRESS) and not sudoable
    assert host.ran_on_first and not is_first, "the connection of the module is not used by two at a time"
    assert not set(threading.enumerate()) - before


@pytest.mark.filterwarnings("error")  # of a thread that ends with an exception
def test_a_look_that_fails_changes_nothing(screen):
    host = Host(broken=True)
    run(host, lambda: host.looks)
    assert not screen and len(host.looks) == 1


@pytest.mark.parametrize("check_mode, no_log, wrap_async", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_nothing_is_looked_at_where_nothing_is_loaded_or_may_be_shown(check_mode, no_log, wrap_async, monkeypatch):
    host, begun = Host(), []
    host._task.check_mode, host._task.no_log = bool(check_mode), bool(no_log)
    host.ends.set()
    monkeypatch.setattr(host, "_shown", lambda: begun.append(True) or contextlib.nullcontext())
    assert host._run_module({}, bool(wrap_async)) == RESULT and not begun
    host._task.check_mode = host._task.no_log = False
    assert host._run_module({}) == RESULT and begun
