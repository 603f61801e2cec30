# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What haproxy.cfg says, where no test with HAProxy sees it in a reasonable time."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.haproxy import configuration
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import gateway

from tests.unit.plugins.plugin_utils.gateway.builders import KEY, endpoint, facts, model, settings

FILES = {
    name: "/x/" + name for name in "lua listing calls models keys rates priorities restricted allowed held".split()
}
ONE = (endpoint("a", "gpu0", model("x:latest")),)
#: The names of chat are two models: HAProxy checks their servers in backends of their own.
ALIAS = (endpoint("a", "gpu0", model("x:latest", "chat:latest")), endpoint("b", "gpu0", model("y:1", "chat:latest")))


def text_of(endpoints=ONE, **given):
    """haproxy.cfg of endpoints."""
    return configuration(gateway(settings(**given), facts(*endpoints), None), FILES)


def section(text, name):
    """The lines of a section, without their indentation."""
    (found,) = re.findall(r"^%s *\n((?: .*\n|\n)+)" % re.escape(name), text, re.M)
    return [line.strip() for line in found.splitlines()]


@pytest.mark.parametrize(
    "endpoints, checking", [(ONE, "backend model_x:latest"), (ALIAS, "backend check1_model_chat:latest")]
)
def test_a_server_leaves_within_two_checks_and_comes_back_with_one(endpoints, checking):
    """Every two seconds, and one second after a failed check: it is out after four seconds at most. One failed check
    alone, which a busy host has, takes nothing out. The tests with HAProxy wait for a state for up to a minute, so
    they would not miss a higher number."""
    (line,) = [line for line in section(text_of(endpoints), checking) if line.startswith("default-server")]
    assert "check inter 2s fastinter 1s fall 2 rise 1" in line


def test_every_server_that_gets_requests_is_checked():
    text = text_of(ALIAS)
    for backend in re.findall(r"^backend (model_\S+)$", text, re.M):
        lines = section(text, "backend " + backend)
        servers = [line for line in lines if line.startswith("server ")]
        assert servers
        if not any(line.startswith("default-server check ") for line in lines):
            assert all(" track check" in line for line in servers), backend


def test_long_time_outs_hold_no_dead_connections():
    """An answer may be silent for half an hour. A client or a host that is gone without a word (no FIN, no RST: its
    power or its network failed) is found by the kernel: it asks an idle connection after 15 s, then every 5 s, and
    closes it after three questions without an answer. It asks nothing while data waits for its acknowledgement: for
    a server, this may take 20 s. Without all this, the dead connection keeps its slot for the half hour. A client
    has no such limit: it may be there and read nothing for a time."""
    text = text_of(answer_timeout=1800)
    defaults = section(text, "defaults")
    assert "timeout client 1800s" in defaults and "timeout server 1800s" in defaults
    for side in ("cli", "srv"):
        wanted = ["option %stcpka", "%stcpka-idle 15s", "%stcpka-intvl 5s", "%stcpka-cnt 3"]
        assert [line for line in defaults if side + "tcpka" in line] == [line % side for line in wanted]
    assert [line for line in section(text, "frontend clients") if line.startswith("bind ")] == ["bind 127.0.0.1:11480"]
    backends = [
        section(text_of(endpoints), name)
        for endpoints, name in ((ONE, "backend model_x:latest"), (ALIAS, "backend model_chat:latest"))
    ]
    for lines in backends:
        assert [line for line in lines if line.startswith("default-server") and line.endswith("tcp-ut 20s")], lines


def test_the_clock_stops_no_lua():
    """By default HAProxy stops it after four seconds. HAProxy 2.6 counts those of the clock, so that the answer depends
    on how busy the host is. gateway.lua counts its steps instead."""
    lines = [line for line in section(text_of(), "global") if line.startswith("tune.lua.")]
    assert lines == ["tune.lua.session-timeout 0", "tune.lua.service-timeout 0"]


def test_haproxy_binds_itself_to_no_numa_node():
    """By default it does, where there are several nodes: with sched_setaffinity, which its unit refuses."""
    assert "no numa-cpu-mapping" in section(text_of(), "global")


@pytest.mark.parametrize("queue_timeout, seconds", [(60, 300), (600, 600)])
def test_requests_wait_for_a_switch_for_five_minutes_or_the_time_in_the_queue(queue_timeout, seconds):
    """If ollama_gateway_queue_timeout is longer, a switch must not make it shorter."""
    assert "setenv GATEWAY_HOLD %d" % seconds in section(text_of(queue_timeout=queue_timeout), "global")


def test_no_expression_takes_a_line_break_for_the_end():
    """In PCRE, $ is also before a line break at the end: a model name with one would get into answers and the log."""
    keys = [{"name": "x", "key": KEY, "models": ["x"]}]
    text = text_of(ALIAS, keys=keys, origins=["https://chat.example"], metrics_port=9100)
    lines = [line for line in text.splitlines() if re.search(r" -m reg |rstring|regsub\(", line)]
    assert len(lines) >= 5 and not [line for line in lines if "$" in line]
