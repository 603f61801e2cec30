# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What clients get from a gateway: real HAProxy in front of light servers."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.gateway_socket import GatewaySocket, servers_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import haproxy

from tests.integration import prometheus
from tests.integration.gateway_front import KEYS, ROLE, Light, asking, entry, raw, running, until
from tests.rig.ollama.running import free_port
from tests.rig.waiting import PATIENCE, wait_until
from tests.unit import metrics_files

CHAT = "/api/chat"


@pytest.fixture(scope="module")
def lights():
    """Two instances: both serve llama3 (and its alias chat), the first also tiny."""
    found = [Light("one", ["llama3:latest", "chat:latest", "tiny:8b"]), Light("two", ["llama3:latest", "chat:latest"])]
    yield found
    for light in found:
        light.kill()


def facts_of(lights, slots=4):
    aliases = {"llama3:latest": ["chat:latest"]}
    instances = [entry(light, "gpu%d" % number, slots, aliases) for number, light in enumerate(lights)]
    return {"a": {"ollama_version": "0.32.15", "endpoints": instances}}


KEYS_GIVEN = [{"name": "anna", "key": KEYS["anna"]}, {"name": "ben", "key": KEYS["ben"], "models": ["tiny:8b"]}]


@pytest.fixture(scope="module")
def front(lights, tmp_path_factory):
    with running(tmp_path_factory.mktemp("front"), facts_of(lights), keys=KEYS_GIVEN, body_bytes=65536) as found:
        yield found


def test_a_model_is_served_by_its_replicas(front):
    names = {
        front.ask("POST", CHAT, {"model": "llama3", "stream": False}).json["message"]["content"] for unused in "1234"
    }
    assert names == {"one one one", "two two two"}


@pytest.mark.parametrize(
    "name", ["llama3", "llama3:latest", "LLama3", "library/llama3", "registry.ollama.ai/library/llama3:latest", "chat"]
)
def test_a_name_is_understood_as_ollama_does(front, name):
    assert front.ask("POST", CHAT, {"model": name, "stream": False}).status == 200
    assert front.ask("GET", "/v1/models/" + name).status == 200


def test_a_model_of_one_instance_goes_there(front, lights):
    before = len(lights[1].seen())
    for path in ("/api/generate", "/v1/chat/completions", "/api/show"):
        assert front.ask("POST", path, {"model": "tiny:8b", "stream": False}).status == 200
    assert len(lights[1].seen()) == before
    assert [one["model"] for one in lights[0].seen()[-3:]] == ["tiny:8b"] * 3


def test_a_model_that_nobody_serves_gets_the_list_of_those_that_are(front):
    words = "model 'nope' not found; served are: chat:latest, llama3:latest, tiny:8b"
    found = front.ask("POST", CHAT, {"model": "nope"})
    assert (found.status, found.json) == (404, {"error": words})
    found = front.ask("POST", "/v1/chat/completions", {"model": "nope"})
    assert (found.status, found.json["error"]["message"]) == (404, words)
    assert front.ask("POST", CHAT, {"model": "nope"}, key="ben").error.endswith("served are: tiny:8b")


def test_lists_are_those_of_all_instances_together(front):
    assert [one["name"] for one in front.ask("GET", "/api/tags").json["models"]] == [
        "chat:latest",
        "llama3:latest",
        "tiny:8b",
    ]
    assert [one["id"] for one in front.ask("GET", "/v1/models").json["data"]] == [
        "chat:latest",
        "llama3:latest",
        "tiny:8b",
    ]
    assert [one["id"] for one in front.ask("GET", "/v1/models", key="ben").json["data"]] == ["tiny:8b"]
    assert front.ask("GET", "/api/version").json == {"version": "0.32.15"}
    assert front.ask("HEAD", "/").status == 200


def test_loaded_models_are_those_in_rotation(front, lights):
    assert len(front.ask("GET", "/api/ps").json["models"]) == 3
    lights[0].ask("PUT", "/rig/loaded", ["llama3:latest"])
    try:
        until(
            lambda: (
                [one["name"] for one in front.ask("GET", "/api/ps").json["models"]] == ["chat:latest", "llama3:latest"]
            )
        )
        found = front.ask("POST", CHAT, {"model": "tiny:8b"})
        assert (found.status, found.headers["retry-after"]) == (503, "5")
        assert "no server is free" in found.error
    finally:
        lights[0].ask("PUT", "/rig/loaded", lights[0].models)
    until(lambda: front.ask("POST", CHAT, {"model": "tiny:8b"}).status == 200)


def test_a_model_on_demand_is_served_while_it_is_not_loaded(tmp_path):
    """Its instance has it and loads it for the request. A resident model must be loaded: beside it, one is not."""
    light = Light("one", ["tiny:8b", "rare:70b"])
    try:
        light.ask("PUT", "/rig/loaded", ["tiny:8b"])
        instance = entry(light, "gpu0")
        serves = {model["name"]: model for model in instance["serves"]}
        serves["rare:70b"]["resident"] = False
        with running(
            tmp_path, {"a": {"ollama_version": "0.32.15", "endpoints": [instance]}}, acknowledged=["keys"]
        ) as front:
            assert front.ask("POST", CHAT, {"model": "rare:70b", "stream": False}, key=None).status == 200
            assert light.seen()[-1]["model"] == "rare:70b"
            light.ask("PUT", "/rig/loaded", [])
            until(lambda: front.servers(False) == ["model_tiny:8b/a_gpu0"])
            assert front.servers(True) == ["model_rare:70b/a_gpu0"]
            assert front.ask("POST", CHAT, {"model": "rare:70b", "stream": False}, key=None).status == 200
    finally:
        light.kill()


def test_a_query_is_dropped(front, lights):
    """Ollama gets the path as it is in the list of calls."""
    for path in (CHAT, "/v1/chat/completions"):
        assert front.ask("POST", path + "?beta=true&path=/api/delete", {"model": "tiny:8b"}).status == 200
        assert lights[0].seen()[-1]["path"] == path
    assert front.ask("GET", "/api/tags?x").json == front.ask("GET", "/api/tags").json


def test_a_long_body_with_the_model_at_its_end_is_routed(front, lights):
    body = json.dumps({"messages": [{"role": "user", "content": '{"model":"x"} \\ "' * 2700}], "model": "tiny:8b"})
    assert 60000 < len(body) < 65536
    assert front.ask("POST", CHAT, body.encode()).status == 200
    assert lights[0].seen()[-1]["bytes"] == len(body)


def test_a_body_in_chunks_is_routed(front):
    body = json.dumps({"model": "tiny:8b", "prompt": "x" * 20000}).encode()
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:9000], body[9000:], b""))
    head = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nConnection: close\r\n"
    head = (head % KEYS["anna"]).encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    assert raw(front.port, head + parts).status == 200


def test_an_answer_streams(front):
    arrived = []
    connection = http.client.HTTPConnection("127.0.0.1", front.port)
    options = {"num_predict": 5, "rig_pause": 1}
    body = json.dumps({"model": "tiny:8b", "options": options})
    connection.request("POST", CHAT, body, {"Authorization": "Bearer " + KEYS["anna"], "Host": "localhost"})
    response = connection.getresponse()
    while line := response.readline():
        arrived.append((time.monotonic(), json.loads(line)))
    assert arrived[-1][0] - arrived[0][0] > 1 and arrived[-1][1]["done"] is True, "they do not come all at once"


def test_words_that_come_quickly_are_not_held_back(lights, tmp_path):
    """HAProxy may ask the kernel to wait for more, as long as more comes."""
    with running(tmp_path, facts_of(lights), acknowledged=["keys"], allow_loading=True) as front:
        client, times = http.client.HTTPConnection("127.0.0.1", front.port, timeout=PATIENCE), []
        options = {"num_predict": 40, "rig_silence": 0.01, "rig_pause": 0.01}
        for unused in range(3):
            begin = time.monotonic()
            client.request("POST", CHAT, json.dumps({"model": "llama3", "options": options}))
            response = client.getresponse()
            response.read(1)
            first = time.monotonic() - begin
            response.read()
            times.append(first / (time.monotonic() - begin))
        assert min(times) < 0.3, times


def test_the_log_has_names_and_no_prompts(front):
    front.ask("POST", CHAT, {"model": "tiny:8b", "messages": [{"role": "user", "content": "a-secret-word"}]}, key="ben")
    until(lambda: front.log()[-1]["key"] == "ben")
    line = front.log()[-1]
    assert (line["model"], line["status"], line["path"], line["server"]) == ("tiny:8b", 200, CHAT, "a_gpu0")
    assert line["first_byte_ms"] >= 0 and line["duration_ms"] >= 0 and line["bytes_sent"] > 100
    text = front.log_path.read_text(encoding="utf-8")
    assert "a-secret-word" not in text and KEYS["ben"] not in text


def test_metrics_are_told_by_instance_where_they_are_asked_for(front, lights, tmp_path):
    assert [row["pxname"] for row in front.rows() if row["svname"] == "FRONTEND"] == ["clients"]
    port, end = free_port(), b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with running(tmp_path, facts_of(lights), acknowledged=["keys"], metrics_port=port) as measured:
        for unused in range(3):
            assert measured.ask("POST", CHAT, {"model": "tiny:8b"}, key=None).status == 200
        told, *others = [raw(port, request.encode() + end) for request in ("GET /metrics", "GET /", "POST /metrics")]
        named = 'haproxy_server_http_responses_total{proxy="model_tiny:8b",server="a_gpu0",code="2xx"} 3'
        assert told.status == 200 and named in told.body.decode().splitlines()
        assert [reply.status for reply in others] == [404, 404]
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
        wait_until(lambda: server.series(answered), "the requests of a_gpu0")
        assert ({"proxy": "model_tiny:8b", "server": "a_gpu0"}, 2.0) in server.series(answered)


def test_the_check_for_a_shared_address_follows_haproxy(lights, tmp_path):
    command = [sys.executable, str(ROLE / "files" / "check_gateway.py"), str(tmp_path / "admin.sock")]

    def check():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.strip()

    with running(tmp_path, facts_of(lights), acknowledged=["keys"], connections=1) as front:
        with socket.create_connection(("127.0.0.1", front.port)):
            assert check() == (0, ""), "a gateway without a free connection works"
        front.command("disable frontend clients")
        assert check() == (1, "the gateway takes no clients")
        front.command("enable frontend clients")
        assert check() == (0, "")
        front.process.send_signal(signal.SIGKILL)
        until(lambda: check()[1].startswith("the gateway does not answer"))
        assert check()[0] == 1


def test_more_than_the_slots_wait_and_more_than_the_queue_is_refused(tmp_path):
    """The slots are taken until the end, so that it does not matter how fast the others come."""
    light, found = Light("one", ["tiny:8b"]), []
    silent = {"model": "tiny:8b", "options": {"num_predict": 1, "rig_silence": 600}}
    given = {"acknowledged": ["keys"], "queue": 2, "queue_timeout": 10, "allow_loading": True}
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
        until(lambda: gateway.under_way(servers) == 1)
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


def test_an_alias_moves_clients_step_by_step(tmp_path):
    """One model on each instance, and an alias that is each of them: by weights, also where nobody else asks."""
    both = [Light("old", ["llama3:latest", "chat:latest"]), Light("new", ["qwen3:8b", "chat:latest"])]
    try:
        aliases = {"llama3:latest": ["chat:latest"], "qwen3:8b": ["chat:latest"]}
        instances = [entry(light, "gpu%d" % number, 4, aliases) for number, light in enumerate(both)]
        facts = {"a": {"ollama_version": "0.32.15", "endpoints": instances}}
        given = {"acknowledged": ["keys"], "weights": {"chat": {"llama3": 75, "qwen3:8b": 25}}}
        with running(tmp_path, facts, **given) as front:
            ask = {"model": "chat", "stream": False, "options": {"num_predict": 1}}
            words = [front.ask("POST", CHAT, ask, key=None).json["message"]["content"].strip() for unused in range(20)]
            assert (words.count("old"), words.count("new")) == (15, 5)
            front.write(facts, **dict(given, weights={"chat": {"llama3": 0, "qwen3:8b": 1}}))
            front.reload()
            until(lambda: not front.servers(False))
            words = [front.ask("POST", CHAT, ask, key=None).json["message"]["content"].strip() for unused in range(6)]
            assert set(words) == {"new"}
            assert front.ask("POST", CHAT, dict(ask, model="llama3"), key=None).status == 200
    finally:
        for light in both:
            light.kill()


def test_an_alias_is_served_where_its_own_model_is_loaded(tmp_path):
    """The model that it stands for on another instance may be loaded here: nobody who asks for the alias gets it."""
    both = [Light("old", ["llama3:latest", "qwen3:8b", "chat:latest"]), Light("new", ["llama3:latest", "chat:latest"])]
    try:
        aliases = [{"qwen3:8b": ["chat:latest"]}, {"llama3:latest": ["chat:latest"]}]
        instances = [
            entry(light, "gpu%d" % number, 4, given) for number, (light, given) in enumerate(zip(both, aliases))
        ]
        facts = {"a": {"ollama_version": "0.32.15", "endpoints": instances}}
        with running(tmp_path, facts, acknowledged=["keys"]) as front:
            both[0].ask("PUT", "/rig/loaded", ["llama3:latest"])
            until(lambda: front.servers(False) == ["model_chat:latest/a_gpu0", "model_qwen3:8b/a_gpu0"])
            assert "model_chat:latest/a_gpu1" in front.servers(True)
            gateway = GatewaySocket(str(tmp_path / "admin.sock"), str(tmp_path / "held.map"))
            written = (tmp_path / "haproxy.cfg").read_text(encoding="utf-8")
            other = servers_of(written, "a", ["gpu1"])
            gateway.drain(other)
            assert gateway.drained() == set(other)
            both[0].ask("PUT", "/rig/loaded", ["llama3:latest", "qwen3:8b"])
            until(lambda: "model_chat:latest/a_gpu0" in front.servers(True))
            ask = {"model": "chat", "stream": False, "options": {"num_predict": 1}}
            assert front.ask("POST", CHAT, ask, key=None).json["message"]["content"].strip() == "old"
            gateway.take_back(other)
            assert gateway.drained() == set() and front.servers(False) == []
    finally:
        for light in both:
            light.kill()


def test_a_key_of_a_higher_priority_goes_first(lights, tmp_path):
    keys = [
        {"name": "anna", "key": KEYS["anna"], "priority": 10},
        {"name": "ben", "key": KEYS["ben"]},
        {"name": "batch", "key": "a-key-of-batch-0123456789", "priority": -10},
    ]
    with running(tmp_path, facts_of(lights, slots=1), keys=keys, allow_loading=True) as front:
        ended = []

        def ask(key, seconds):
            slow = {"model": "tiny:8b", "options": {"num_predict": 2, "rig_pause": seconds / 2}, "stream": False}
            assert front.ask("POST", CHAT, slow, key=key).status == 200
            ended.append(key)

        threads = []
        # The first one takes long enough for all the others to come.
        for number, key in enumerate(("ben", "a-key-of-batch-0123456789", "ben", "anna")):
            threads.append(threading.Thread(target=ask, args=[key, 1 if number else 15]))
            threads[-1].start()
            until(lambda: lights[0].ask("GET", "/rig/seen")["active"] == 1)
            until(lambda count=number: front.queued("model_tiny:8b") == count)
        for thread in threads:
            thread.join()
        assert ended == ["ben", "anna", "ben", "a-key-of-batch-0123456789"]
