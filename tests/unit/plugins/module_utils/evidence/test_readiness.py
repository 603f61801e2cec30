# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Waiting for services that answer, that end, and that do neither. systemd is made up."""

from __future__ import annotations

import socket
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import readiness
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import systemd
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import InvalidUrl

from tests.unit.plugins.scripted_server import serving

UNIT = "ollama@gpu0.service"
RUNS = {"Id": UNIT, "ActiveState": "active", "SubState": "running", "NRestarts": "0", "Job": "", "Result": "success"}
ENDED = {**RUNS, "ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}
VERSION = {("GET", "/api/version"): (200, {"version": "0.32.15"})}


@pytest.fixture(name="host")
def _host(monkeypatch):
    """A function that sets what systemd says, one answer after the other, and the journal."""

    def make(*answers, journal=(), environment=None):
        left = [dict(answer) for answer in answers]

        def show(_units):
            return {UNIT: left.pop(0) if len(left) > 1 else left[0]}

        monkeypatch.setattr(systemd, "show", show)
        monkeypatch.setattr(systemd, "journal", lambda unit, since: (list(journal), None))
        monkeypatch.setattr(systemd, "environment", lambda properties: environment or {})

    monkeypatch.setattr(readiness, "_INTERVAL", 0.01)
    return make


@pytest.fixture(name="nobody")
def _nobody():
    """The address of a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield "http://127.0.0.1:%d" % taken.getsockname()[1]


def wait(url, timeout=60.0):
    (found,) = readiness.wait_for([{"unit": UNIT, "url": url}], timeout)
    return found


def test_a_service_that_answers(host):
    host(RUNS)
    with serving(VERSION) as server:
        assert wait(server.url) == {"unit": UNIT, "url": server.url, "version": "0.32.15", "problem": None}


def test_the_process_of_before_is_not_taken_for_the_new_one(host):
    """As long as the job of systemd is not done, an answer may be one of the process that is being stopped."""
    host({**RUNS, "ActiveState": "deactivating", "Job": "12"}, {**RUNS, "Job": "12"}, RUNS)
    with serving(VERSION) as server:
        assert wait(server.url)["version"] == "0.32.15"
        assert len(server.requests) == 1


@pytest.mark.parametrize("answers", [(RUNS, ENDED), (RUNS, {**RUNS, "NRestarts": "1"}), (ENDED,)])
def test_a_service_that_ends_is_not_waited_for(host, nobody, answers):
    host(*answers, journal=["Error: listen tcp 127.0.0.1:11434: bind: address already in use"])
    begin = time.monotonic()
    problem = wait(nobody)["problem"]
    assert time.monotonic() - begin < 30
    assert problem.startswith("ollama@gpu0.service ended right after its start (systemd: ")
    assert "Another process has port 11434" in problem and "bind: address already in use" in problem


def test_a_service_that_neither_ends_nor_answers(host, nobody):
    host(RUNS, journal=["looking for GPUs"])
    problem = wait(nobody, timeout=0.2)["problem"]
    assert "runs and has not answered for 0.2 seconds" in problem and "connection refused" in problem
    assert problem.endswith("Its last lines: looking for GPUs")


def test_secrets_are_not_in_the_lines(host, nobody):
    """A value is hidden also where the line is cut in the middle of it."""
    lines = ['config="map[HTTPS_PROXY:http://me:pa55@proxy:1 X:hush-hush]"', "x" * 295 + "hush-hush", "end"]
    host(ENDED, journal=lines, environment={"MY_TOKEN": "hush-hush", "OLLAMA_HOST": "127.0.0.1:11434"})
    problem = wait(nobody)["problem"]
    assert "hush" not in problem and "pa55" not in problem and "(hidden)" in problem


def test_all_are_waited_for_and_each_that_failed_is_named(host, nobody):
    host(ENDED, journal=["status=203/EXEC"])
    failed = readiness.wait_for([{"unit": UNIT, "url": nobody}] * 2, 5)
    assert [one["version"] for one in failed] == [None, None]
    assert all("systemd cannot run the program" in one["problem"] for one in failed)
    host(RUNS)
    with serving(VERSION) as server:
        (done,) = readiness.wait_for([{"unit": UNIT, "url": server.url}], 5)
    assert done["version"] == "0.32.15" and done["problem"] is None


def test_a_wrong_address_is_refused(host):
    host(RUNS)
    with pytest.raises(InvalidUrl, match="ftp://x"):
        readiness.wait_for([{"unit": UNIT, "url": "ftp://x"}], 5)


def test_a_service_that_answers_with_errors_is_not_waited_for_to_the_end(host, monkeypatch):
    monkeypatch.setattr(readiness, "_ERROR_SECONDS", 0.2)
    host(RUNS, journal=["panic"])
    begin = time.monotonic()
    with serving({("GET", "/api/version"): (500, {"error": "broken"})}) as server:
        problem = wait(server.url)["problem"]
    assert "answers with an error: broken" in problem and "panic" in problem and time.monotonic() - begin < 30
