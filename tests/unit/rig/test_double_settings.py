# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How the double reads the environment of the service."""

from __future__ import annotations

import pytest

from tests.rig.ollama.double import settings


@pytest.mark.parametrize(
    "text, found",
    [
        ("", ("http", "127.0.0.1", 11434)),
        ("0.0.0.0", ("http", "0.0.0.0", 11434)),
        ("127.0.0.1:11450", ("http", "127.0.0.1", 11450)),
        (":11450", ("http", "127.0.0.1", 11450)),
        ("http://10.0.0.1", ("http", "10.0.0.1", 80)),
        ("https://x:99/path", ("https", "x", 99)),
        ("[::1]:11450", ("http", "::1", 11450)),
        ("127.0.0.1:99999", ("http", "127.0.0.1", 11434)),
        ("127.0.0.1:port", ("http", "127.0.0.1", 11434)),
        ('"127.0.0.1:1" ', ("http", "127.0.0.1", 1)),
    ],
)
def test_host(monkeypatch, text, found):
    """OLLAMA_HOST; an invalid port becomes 11434."""
    monkeypatch.setenv("OLLAMA_HOST", text)
    assert settings.host() == found


@pytest.mark.parametrize(
    "text, found",
    [
        ("", False),
        ("1", True),
        ("true", True),
        ("0", False),
        ("false", False),
        ("F", False),
        ("fales", True),
        (" ", False),
    ],
)
def test_boolean(monkeypatch, text, found):
    """Any text that is not a Go bool is true."""
    monkeypatch.setenv("OLLAMA_SCHED_SPREAD", text)
    assert settings.boolean("OLLAMA_SCHED_SPREAD") is found


@pytest.mark.parametrize(
    "text, found",
    [("", 300), ("10m", 600), ("90", 90), ("-1", settings.FOREVER), ("-1m", settings.FOREVER), ("0", 0), ("soon", 300)],
)
def test_keep_alive(monkeypatch, text, found):
    """Durations or seconds. A negative value means forever, an invalid one the default."""
    monkeypatch.setenv("OLLAMA_KEEP_ALIVE", text)
    assert settings.keep_alive() == found
