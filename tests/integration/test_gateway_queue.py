# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who waits for a slot of an instance or for one that is switched, and who is refused: real HAProxy."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.gateway_socket import GatewaySocket, servers_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import haproxy

from tests.integration.gateway_front import CHAT, KEYS, Light, asking, facts_of, running, two_lights, until
from tests.rig.waiting import PATIENCE


@pytest.fixture(name="lights", scope="module")
def _lights():
    with two_lights() as found:
        yield found


def test_more_than_the_slots_wait_and_more_than_the_queue_is_refused(tmp_path):
    """The slots are taken until the end, so that it does not matter how fast the others come."""
    light, found = Light("one", ["tiny:8b"]), []
    silent = {"model": "tiny:8b", "options": {"num_predict": 1, "rig_silence": 600}}
    given = {"acknowledged": ["keys"], "queue": 2, "queue_timeout": 20, "allow_loading": True}
    try:
        with running(tmp_path, facts_of([light], slots=2), **given) as front:

            def ask():
                found.append(front.ask("POST", CHAT, silent, key=None))

            with asking(front, silent), asking(front, silent):
                until(lambda: light.ask("GET", "/rig/seen")["active"] == 2)
                threads = [threading.Thread(target=ask) for unused in range(2)]
                for number, thread in enumerate(threads, 1):
                    thread.start()
                    until(lambda count=number: front.queued("model_tiny:8b") == count)
                ask()
                for thread in threads:
                    thread.join()
            assert [reply.status for reply in found] == [429, 503, 503]
            assert all(reply.headers["retry-after"] == "5" for reply in found)
            assert light.ask("GET", "/rig/seen")["most"] == 2
    finally:
        light.kill()


def test_a_drained_instance_gets_nothing_new(lights, tmp_path):
    with running(tmp_path, facts_of(lights), acknowledged=["keys"]) as front:
        front.write(facts_of(lights), drain=["gpu0"])
        front.reload()

        def answers():
            ask = {"model": "llama3", "stream": False}
            return {front.ask("POST", CHAT, ask, key=None).json["message"]["content"] for unused in "12345"}

        until(lambda: answers() == {"two two two"}, what="the new process has taken over")
        assert answers() == {"two two two"}


def test_requests_wait_while_the_only_instance_is_switched(lights, tmp_path):
    """It is drained, stopped, started and taken back, as the stage switch does."""
    given = {"allow_loading": True, "queue": 1, "queue_timeout": 20}
    with running(tmp_path, facts_of(lights, slots=2), acknowledged=["keys"], **given) as front:
        gateway = GatewaySocket(str(tmp_path / "admin.sock"), str(tmp_path / "held.map"))
        servers = servers_of((tmp_path / "haproxy.cfg").read_text(encoding="utf-8"), "a", ["gpu0"])
        assert [server for server in servers if "tiny" in server]
        slow = {"model": "tiny:8b", "options": {"num_predict": 3, "rig_pause": 0.5}, "stream": False}
        found = []

        def ask():
            found.append((front.ask("POST", CHAT, slow, key=None), time.monotonic()))

        threads = [threading.Thread(target=ask) for unused in range(5)]
        threads[0].start()
        until(lambda: gateway.under_way(servers) == 1 or found)
        gateway.drain(servers)
        for number, thread in enumerate(threads[1:], 2):
            thread.start()
            until(lambda count=number: int(front.row("model_tiny:8b")["stot"]) == count)
        assert gateway.wait(servers, PATIENCE) == 0
        lights[0].kill()
        until(lambda: all("DOWN" in front.row(*server.split("/"))["status"] for server in servers))
        lights[0].start()
        back = time.monotonic()
        gateway.take_back(servers)
        assert not [server for server in front.servers(False) if server in servers]
        for thread in threads:
            thread.join()
        statuses = [reply.status for reply, unused in found]
        assert sorted(statuses) == [200, 200, 200, 200, 429] or sorted(statuses) == [200, 200, 200, 429, 429], statuses
        assert sum(at > back for reply, at in found if reply.status == 200) >= 2
        # Without a switch nobody waits for what is gone.
        lights[0].kill()
        assert front.ask("POST", CHAT, slow, key=None).status == 503
        lights[0].start()
        until(lambda: not front.servers(False))


def test_requests_wait_longer_for_a_switch_than_for_a_slot(lights, tmp_path, monkeypatch):
    """An instance that is switched takes longer to load than a request waits for a slot. But it waits not for ever."""
    given = {"acknowledged": ["keys"], "queue_timeout": 1}
    ask = {"model": "tiny:8b", "stream": False, "options": {"num_predict": 1}}
    with running(tmp_path, facts_of(lights), **given) as front:
        gateway = GatewaySocket(str(tmp_path / "admin.sock"), str(tmp_path / "held.map"))
        servers = servers_of((tmp_path / "haproxy.cfg").read_text(encoding="utf-8"), "a", ["gpu0"])
        found = []
        gateway.drain(servers)
        thread = threading.Thread(target=lambda: found.append(front.ask("POST", CHAT, ask, key=None)))
        thread.start()
        until(lambda: int(front.row("model_tiny:8b")["scur"]) == 1)
        until(lambda: int(front.row("model_tiny:8b", "a_gpu0")["lastchg"]) >= 4)  # it is drained for four seconds
        gateway.take_back(servers)
        thread.join()
        assert [reply.status for reply in found] == [200]

        monkeypatch.setattr(haproxy, "HOLD_SECONDS", 1)
        front.write(facts_of(lights), **given)
        front.reload()
        until(lambda: not front.servers(False))
        gateway.drain(servers)
        refused = front.ask("POST", CHAT, ask, key=None)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        gateway.take_back(servers)


def test_requests_that_wait_for_the_only_instance_are_answered_once_it_is_back(lights, tmp_path):
    """It is killed: what it had been given, and what comes while it is gone, gets a status that says "later"."""
    given = {"allow_loading": True, "queue_timeout": 60}
    with running(tmp_path, facts_of(lights, slots=1), acknowledged=["keys"], **given) as front:
        ask = {"model": "tiny:8b", "options": {"num_predict": 3, "rig_pause": 0.5}, "stream": False}
        found = []

        def ask_once():
            found.append(front.ask("POST", CHAT, ask, key=None))

        threads = [threading.Thread(target=ask_once) for unused in range(5)]
        lights[0].process.send_signal(signal.SIGSTOP)  # the first one has the slot until all the others wait
        for thread in threads:
            thread.start()
        until(lambda: front.queued("model_tiny:8b") >= 4)
        lights[0].kill()
        until(lambda: "model_tiny:8b/a_gpu0" in front.servers(False))
        until(lambda: int(front.row("model_tiny:8b", "a_gpu0")["lastchg"]) >= 3)  # it is gone for three seconds
        assert front.queued("model_tiny:8b") > 0
        ask_once()
        lights[0].start()
        for thread in threads:
            thread.join()
        until(lambda: not front.servers(False))
        statuses = [reply.status for reply in found]
        assert {*statuses} == {200, 503} and statuses.count(200) >= 1, statuses
        assert all(reply.headers["retry-after"] == "5" for reply in found if reply.status == 503)


def test_one_connection_that_fails_takes_no_instance_out(lights, tmp_path):
    """On a busy machine one takes too long at times. Where all instances were out by that, clients would get 503."""
    with running(tmp_path, facts_of(lights), acknowledged=["keys"]) as front:
        lights[0].kill()
        assert front.ask("POST", CHAT, {"model": "tiny:8b"}, key=None).status == 503
        until(lambda: "model_tiny:8b/a_gpu0 is DOWN" in front.log_path.read_text(encoding="utf-8"))
        assert "Detected 1 consecutive errors" not in front.log_path.read_text(encoding="utf-8")
        lights[0].start()
        until(lambda: not front.servers(False))


def test_a_key_of_a_higher_priority_goes_first(lights, tmp_path):
    keys = [
        {"name": "anna", "key": KEYS["anna"], "priority": 10},
        {"name": "ben", "key": KEYS["ben"]},
        {"name": "batch", "key": "a-key-of-batch-0123456789", "priority": -10},
    ]
    with running(tmp_path, facts_of(lights, slots=1), keys=keys, allow_loading=True) as front:
        before = len(lights[0].seen())

        def ask(number, key, seconds):
            slow = {"model": "tiny:8b", "options": {"num_predict": 2, "rig_pause": seconds / 2}, "stream": False}
            assert front.ask("POST", CHAT, {**slow, "prompt": "x" * number}, key=key).status == 200

        threads = []
        # The first one takes long enough for all the others to come.
        for number, key in enumerate(("ben", "a-key-of-batch-0123456789", "ben", "anna")):
            threads.append(threading.Thread(target=ask, args=[number, key, 1 if number else 15]))
            threads[-1].start()
            until(lambda: lights[0].ask("GET", "/rig/seen")["active"] == 1)
            until(lambda count=number: front.queued("model_tiny:8b") == count)
        for thread in threads:
            thread.join()
        lengths = [one["bytes"] for one in lights[0].seen()[before:]]
        assert [length - lengths[0] for length in lengths] == [0, 3, 2, 1], "anna, ben and batch"
