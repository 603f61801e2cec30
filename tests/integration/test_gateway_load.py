# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""200 streams through a gateway while instances are killed, drained and started again.

The clients are our own (tests/rig/ollama/streams.py). hey 0.1.4 and wrk only count the status of an answer: hey calls
an answer that breaks off after its first words one with status 200, and what is shown here is that clients see the
difference.
"""

from __future__ import annotations

import asyncio
import collections
import signal
import threading
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.gateway_socket import GatewaySocket, servers_of

from tests.integration.gateway_front import Light, facts_of, running, until
from tests.rig.ollama import streams
from tests.session import FULL

#: Requests at once, and how many of them an instance takes.
CLIENTS, SLOTS = 200, 150
#: Seconds of each of the five parts: together a minute, and five minutes in make test-full.
PARTS = 5
SECONDS = (300 if FULL else 60) / PARTS
REQUEST = {"model": "llama3", "options": {"num_predict": 4, "rig_pause": 0.5, "rig_silence": 0.3}}


@pytest.fixture(scope="module")
def lights():
    found = [Light(name, ["llama3:latest"]) for name in ("one", "two", "three")]
    yield found
    for light in found:
        light.kill()


@pytest.fixture(scope="module")
def front(lights, tmp_path_factory):
    given = {"allow_loading": True, "acknowledged": ["keys"], "queue": 1000}
    with running(tmp_path_factory.mktemp("loaded"), facts_of(lights, SLOTS), **given) as found:
        found.given = given
        yield found


@pytest.fixture(autouse=True)
def _in_rotation(front, lights):
    """All instances run and get requests, whatever became of the test before."""
    for light in lights:
        if light.process.poll() is not None:
            light.start()
    front.write(facts_of(lights, SLOTS), **front.given)
    front.reload()
    until(lambda: not front.servers(False))


def while_streaming(front, event):
    """Outcomes of the clients while something happens in the middle."""
    failures = []

    def happen():
        time.sleep(SECONDS / 3)
        try:
            event()
        except Exception as error:  # pylint: disable=broad-except  # told by the test
            failures.append(error)

    thread = threading.Thread(target=happen)
    thread.start()
    found = asyncio.run(streams.stream(streams.Target(front.port), CLIENTS, streams.after(SECONDS), REQUEST))
    thread.join()
    assert not failures
    counts = collections.Counter(outcome.kind for outcome in found)
    assert counts[streams.WHOLE] >= CLIENTS, counts
    return counts


def test_an_instance_that_is_killed_loses_no_request_that_had_not_begun(front, lights):
    counts = while_streaming(front, lights[0].kill)
    assert counts[streams.LOST] == counts[streams.REFUSED] == 0, counts
    assert 0 < counts[streams.BROKEN] <= CLIENTS, "answers that had begun end with an error: %s" % counts


def test_instances_that_are_gone_together_lose_no_request_that_had_not_begun(front, lights):
    """Two of three, as of a host that is stopped: the others get the slots of the third one by one.

    test_gateway_hosts.py stops a whole host, of which no packet comes any more.
    """

    def stop():
        for light in lights[1:]:
            light.kill()
        until(lambda: len(front.servers(False)) == 2)

    counts = while_streaming(front, stop)
    assert counts[streams.LOST] == counts[streams.REFUSED] == 0, counts
    assert 0 < counts[streams.BROKEN] <= CLIENTS, "answers that had begun end with an error: %s" % counts


def test_an_instance_that_stops_answering_leaves_and_comes_back(front, lights):
    def stop():
        lights[1].process.send_signal(signal.SIGSTOP)
        until(lambda: len(front.servers(False)) == 1)
        lights[1].process.send_signal(signal.SIGCONT)

    counts = while_streaming(front, stop)
    assert counts[streams.LOST] == counts[streams.REFUSED] == counts[streams.BROKEN] == 0, counts
    until(lambda: not front.servers(False))


def test_an_instance_that_is_drained_ends_what_it_has_begun(front, lights):
    def drain():
        front.write(facts_of(lights, SLOTS), drain=["gpu2"], **front.given)
        front.reload()

    counts = while_streaming(front, drain)
    assert set(counts) == {streams.WHOLE}, counts
    until(lambda: lights[2].ask("GET", "/rig/seen")["active"] == 0)


def test_an_upgrade_one_by_one_loses_nothing(front, lights):
    """Each instance is drained, stopped, started again and taken back, as the stage switch does by gateway_drain."""
    gateway = GatewaySocket(str(front.directory / "admin.sock"), str(front.directory / "held.map"))
    text = (front.directory / "haproxy.cfg").read_text(encoding="utf-8")

    def upgrade():
        for number, light in enumerate(lights):
            servers = servers_of(text, "a", ["gpu%d" % number])
            gateway.drain(servers)
            assert gateway.drained() == set(servers) and gateway.wait(servers, 60) == 0
            assert light.ask("GET", "/rig/seen")["active"] == 0
            light.kill()
            light.start()
            gateway.take_back(servers)
        assert gateway.drained() == set()

    counts = while_streaming(front, upgrade)
    assert set(counts) == {streams.WHOLE}, counts
