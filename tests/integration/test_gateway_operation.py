# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the host of a gateway sees of it and does with it: metrics, checks and reloads of real HAProxy."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from tests.integration import prometheus
from tests.integration.gateway_front import (
    CHAT,
    HAPROXY,
    KEYS,
    ROLE,
    facts_of,
    listens,
    raw,
    running,
    two_lights,
    until,
)
from tests.rig.ollama.running import free_port
from tests.rig.waiting import PATIENCE, wait_until
from tests.unit import metrics_files


@pytest.fixture(name="lights", scope="module")
def _lights():
    with two_lights() as found:
        yield found


def test_metrics_are_told_by_instance_where_they_are_asked_for(lights, tmp_path):
    with running(tmp_path, facts_of(lights), acknowledged=["keys"]) as front:
        assert [row["pxname"] for row in front.rows() if row["svname"] == "FRONTEND"] == ["clients"]
    port, end = free_port(), b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with running(tmp_path, facts_of(lights), acknowledged=["keys"], metrics_port=port) as measured:
        for unused in range(3):
            assert measured.ask("POST", CHAT, {"model": "tiny:8b"}, key=None).status == 200
        told, *others = [raw(port, request.encode() + end) for request in ("GET /metrics", "GET /", "POST /metrics")]
        named = 'haproxy_server_http_responses_total{proxy="model_tiny:8b",server="a_gpu0",code="2xx"} 3'
        assert told.status == 200 and named in told.body.decode().splitlines()
        assert [reply.status for reply in others] == [404, 404]
        until(lambda: len(measured.log()) >= 3)
        assert len(measured.log()) == 3, "the access log is that of clients"


def test_prometheus_reads_them_for_the_dashboard_of_the_gateway(lights, tmp_path):
    """Every query returns series, and requests are told by model and instance."""
    port = free_port()
    target = {"job_name": "gateway", "static_configs": [{"targets": ["127.0.0.1:%d" % port]}]}
    configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}
    with (
        running(tmp_path, facts_of(lights), acknowledged=["keys"], metrics_port=port) as measured,
        prometheus.Prometheus(tmp_path, configuration) as server,
    ):
        for unused in range(2):
            assert measured.ask("POST", CHAT, {"model": "tiny:8b"}, key=None).status == 200
        queries = [
            target["expr"].replace("$host", ".*").replace("$__rate_interval", "1m")
            for panel in metrics_files.gateway_dashboard()["panels"]
            for target in panel["targets"]
        ]
        for query in queries:
            wait_until(lambda query=query: server.series(query), "series of " + query)
        answered = 'sum by (proxy, server) (haproxy_server_http_responses_total{code="2xx",server="a_gpu0"}) == 2'
        found = wait_until(lambda: server.series(answered), "the requests of a_gpu0")
        assert ({"proxy": "model_tiny:8b", "server": "a_gpu0"}, 2.0) in found


def test_the_check_for_a_shared_address_follows_haproxy(lights, tmp_path):
    command = [sys.executable, str(ROLE / "files" / "check_gateway.py"), str(tmp_path / "admin.sock")]

    def check():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.strip()

    with running(tmp_path, facts_of(lights), acknowledged=["keys"], connections=1) as front:
        with socket.create_connection(("127.0.0.1", front.port)):
            until(lambda: check() == (0, ""), what="a gateway without a free connection works")
        front.command("disable frontend clients")
        until(lambda: check() == (1, "the gateway takes no clients"))
        front.command("enable frontend clients")
        until(lambda: check() == (0, ""))
        front.process.send_signal(signal.SIGKILL)
        until(lambda: check()[1].startswith("the gateway does not answer"))
        assert check()[0] == 1


def test_a_reload_that_haproxy_cannot_do_is_a_failure(lights, tmp_path):
    """No check of the configuration sees that a port is in use. The worker of before goes on, with its keys."""
    keys = [{"name": "ben", "key": KEYS["ben"]}]
    with running(tmp_path, facts_of(lights), keys=keys) as front, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        front.write(facts_of(lights), keys=[], acknowledged=["keys"], metrics_port=other.getsockname()[1])
        subprocess.run([HAPROXY, "-c", "-q", "-f", str(tmp_path / "haproxy.cfg")], check=True)
        told = front.reloaded(10)
        assert told.returncode == 1 and told.stderr.startswith("HAProxy did not start with the new configuration")
        until(lambda: "failed to start their listeners" in front.log_path.read_text("utf-8"), what=front.log_path)
        until(lambda: listens(front.port))  # HAProxy listens to nobody while it tries
        asked = [front.ask("POST", CHAT, {"model": "tiny:8b"}, key=key).status for key in ("ben", None)]
        assert asked == [200, 401]
        other.close()
        front.reload()
        assert front.ask("POST", CHAT, {"model": "tiny:8b"}, key=None).status == 200
        front.process.send_signal(signal.SIGKILL)
        front.process.wait(PATIENCE)
        told = until(lambda: (found := front.reloaded(2)).stderr.startswith("HAProxy does not answer at ") and found)
        assert told.returncode == 1
