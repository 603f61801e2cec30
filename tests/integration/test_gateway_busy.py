# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where a gateway sends requests while instances are busy, and what it does with those whose clients are gone."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest

from tests.integration.gateway_front import Light, asking, facts_of, running, until

CHAT = "/api/chat"
#: Nothing is answered for so long that no test waits for it.
SILENT = {"model": "llama3", "options": {"num_predict": 1, "rig_silence": 600}}
#: A state and a timer of a connection in /proc/net/tcp.
ESTABLISHED, KEEPALIVE = "01", 2


@pytest.fixture(name="lights", scope="module")
def _lights():
    found = [Light("one", ["llama3:latest"]), Light("two", ["llama3:latest"])]
    yield found
    for light in found:
        light.kill()


def count(front, field, server="BACKEND"):
    """A number that HAProxy tells of the model."""
    return int(front.row("model_llama3:latest", server)[field])


def test_an_instance_with_fewer_requests_under_way_is_asked(lights, tmp_path):
    """In turn, every second request would go to the busy one."""
    with running(tmp_path, facts_of(lights, slots=4), acknowledged=["keys"], allow_loading=True) as front:
        with asking(front, SILENT):
            servers = {"one": "a_gpu0", "two": "a_gpu1"}
            busy = until(lambda: [name for name, server in servers.items() if count(front, "scur", server)])
            ask = {"model": "llama3", "stream": False, "options": {"num_predict": 1}}
            for unused in range(6):
                word = front.ask("POST", CHAT, ask, key=None).json["message"]["content"].strip()
                assert [word] != busy
                until(lambda: count(front, "scur") == 1)  # HAProxy counts a request for a moment after its answer


def test_a_client_that_is_gone_neither_waits_nor_keeps_a_slot(lights, tmp_path):
    with running(tmp_path, facts_of(lights[:1], slots=1), acknowledged=["keys"], allow_loading=True) as front:
        with asking(front, SILENT):
            until(lambda: count(front, "scur", "a_gpu0") == 1)
            with asking(front, SILENT):
                until(lambda: count(front, "qcur") == 1)
            until(lambda: count(front, "qcur") == 0, what="the request whose client is gone left the queue")
            assert count(front, "scur", "a_gpu0") == 1, "the first one has the slot"
        until(lambda: count(front, "scur", "a_gpu0") == 0, what="the slot is free again")
        ask = {"model": "llama3", "stream": False, "options": {"num_predict": 1}}
        assert front.ask("POST", CHAT, ask, key=None).status == 200


@dataclasses.dataclass
class Connection:
    """One side of a connection of this machine (kernel, Documentation/networking/proc_net_tcp.rst)."""

    local: int
    remote: int
    timer: int
    seconds: float


def connections():
    """The connections over IPv4 with what the kernel does next to them."""
    for line in pathlib.Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        timer, when = words[5].split(":")
        if words[3] == ESTABLISHED:
            ports = [int(place.split(":")[1], 16) for place in words[1:3]]
            yield Connection(*ports, int(timer, 16), int(when, 16) / os.sysconf("SC_CLK_TCK"))


def test_the_kernel_asks_whether_the_other_side_of_a_silent_connection_is_there(lights, tmp_path):
    """It does so within seconds for the client and for the instance, and not after two hours as it does by itself."""
    with running(tmp_path, facts_of(lights[:1], slots=1), acknowledged=["keys"], allow_loading=True) as front:
        with asking(front, SILENT) as client:
            until(lambda: count(front, "scur", "a_gpu0") == 1)
            own, port = client.getsockname()[1], lights[0].port
            ends = {
                "client": lambda one: (one.local, one.remote) == (front.port, own),
                "instance": lambda one: one.remote == port,
            }
            for name, is_it in ends.items():
                until(
                    lambda is_it=is_it: any(
                        is_it(one) and one.timer == KEEPALIVE and one.seconds <= 15 for one in connections()
                    ),
                    what="the %s is asked in at most 15 s" % name,
                )
