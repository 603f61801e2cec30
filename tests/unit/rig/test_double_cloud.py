# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whom the double calls by itself when it starts: those that the real server called when it was recorded."""

from __future__ import annotations

import pathlib
import re
import threading

import pytest

from tests.rig import ollama
from tests.unit.rig import double_content


@pytest.fixture(name="cloud")
def _cloud(monkeypatch, tmp_path):
    """The module on a host that has an address of ollama.com."""
    monkeypatch.syspath_prepend(str(pathlib.Path(ollama.__file__).parent))
    from double import cloud

    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n192.0.2.10 ollama.com\n", encoding="ascii")
    monkeypatch.setattr(cloud, "HOSTS", str(tmp_path / "hosts"))
    monkeypatch.delenv("OLLAMA_NO_CLOUD", raising=False)
    return cloud


@pytest.fixture(name="called")
def _called(cloud, monkeypatch):
    """A function that starts it and returns whom it has called."""
    reached = []

    def connect(address, unused_seconds):
        reached.append(address)
        raise OSError(111, "connect: connection refused")

    monkeypatch.setattr(cloud.socket, "create_connection", connect)

    def start():
        before = set(threading.enumerate())
        cloud.start()
        for thread in set(threading.enumerate()) - before:
            thread.join()
        return reached

    return start


def test_the_cloud_is_called_at_start(called, capfd):
    assert called() == [("ollama.com", 443)] * 2
    wanted = double_content.recorded("ollama-0.32.15-api.json")[0]["server_log"]
    lines = [line for line in wanted if "ollama.com/api" in line or "ollama.com:443/api" in line]
    assert sorted(map(_known, capfd.readouterr().err.splitlines())) == sorted(map(_known, lines)) and len(lines) == 2


def _known(line):
    """What is the same in two runs: level, source, message and address."""
    return re.sub(r"\?ts=\d+", "", line)[line.index("level=") :].partition(": dial tcp")[0]


def test_nobody_is_called_without_the_cloud(called, monkeypatch):
    monkeypatch.setenv("OLLAMA_NO_CLOUD", "1")
    assert called() == []


def test_nobody_is_called_on_another_machine(called, tmp_path):
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n", encoding="ascii")
    assert called() == []
