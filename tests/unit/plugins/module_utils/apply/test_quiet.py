# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Waiting until instances answer no request."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import types

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import quiet
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import engines

UNIT = "ollama@gpu0.service"
BUSY, IDLE = [{"id": 0, "is_processing": False}, {"id": 1, "is_processing": True}], [{"id": 0, "is_processing": False}]


@contextlib.contextmanager
def engine(answer, status=200):
    """A server that answers /slots; the block gets its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status if self.path == "/slots" else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *unused):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def unit_has(monkeypatch, *ports):
    """Let the unit have engines that listen on these ports."""
    found = [types.SimpleNamespace(port=port) for port in ports]
    monkeypatch.setattr(engines, "engines", lambda unit, with_mapped: found if unit == UNIT else [])


@pytest.mark.parametrize(
    "answer, status, busy",
    [
        (BUSY, 200, True),
        (IDLE, 200, False),
        ([], 200, False),
        (BUSY, 501, False),  # --no-slots
        (b"not json", 200, False),
        ({"error": {}}, 200, False),
        (["x", None], 200, False),
        ([{"is_processing": "yes"}], 200, False),
    ],
)
def test_a_unit_is_busy_where_its_engine_says_so(monkeypatch, answer, status, busy):
    with engine(answer, status) as port:
        unit_has(monkeypatch, port)
        assert quiet.is_busy(UNIT) == busy


def test_an_engine_that_does_not_answer_counts_as_quiet(monkeypatch):
    unit_has(monkeypatch, 1, None)
    assert not quiet.is_busy(UNIT)


def test_any_engine_of_the_unit_counts(monkeypatch):
    with engine(IDLE) as idle, engine(BUSY) as busy:
        unit_has(monkeypatch, idle, busy)
        assert quiet.is_busy(UNIT) and not quiet.is_busy("ollama@gpu1.service")


@pytest.fixture(name="looks")
def _looks(monkeypatch):
    """What the next looks find, the last one for ever; and a clock that goes on with each sleep."""
    found, now = [False], [0.0]
    monkeypatch.setattr(quiet, "is_busy", lambda unit: found.pop(0) if len(found) > 1 else found[0])
    clock = types.SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(quiet, "time", clock)
    return found


def test_it_waits_for_two_looks_without_a_request(looks):
    looks[:] = [True, False, True, False]
    assert quiet.wait_for_quiet([UNIT], 60) == quiet.Quiet(2.0)


def test_it_waits_no_longer_than_the_limit_and_names_what_is_busy(looks):
    looks[:] = [True]
    assert quiet.wait_for_quiet([UNIT], 3) == quiet.Quiet(3.0, (UNIT,))


def test_without_a_limit_or_units_it_does_not_wait(looks):
    looks[:] = [True]
    assert quiet.wait_for_quiet([UNIT], 0) == quiet.wait_for_quiet([], 60) == quiet.Quiet()
