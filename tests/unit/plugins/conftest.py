# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What loads models in a test says how far it is in a directory of the session, and not in /run."""

from __future__ import annotations

import signal

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths


@pytest.fixture(autouse=True)
def _load_progress(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(paths, "LOAD_PROGRESS", str(tmp_path_factory.getbasetemp() / "load.json"))


@pytest.fixture
def at_most_a_minute():
    """What must not wait, and would wait for ever, fails."""

    def late(*unused):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
