# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What clients get from a gateway: real HAProxy in front of light servers."""

from __future__ import annotations

import http.client
import json
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.gateway_socket import GatewaySocket, servers_of

from tests.integration.gateway_front import CHAT, KEYS, Light, entry, facts_of, raw, running, two_lights, until
from tests.rig.waiting import PATIENCE


@pytest.fixture(name="lights", scope="module")
def _lights():
    with two_lights() as found:
        yield found


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
    found = front.ask("GET", "/v1/models/" + name)
    assert (found.status, found.json["id"]) == (200, "chat:latest" if name == "chat" else "llama3:latest")


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
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=PATIENCE)
    options = {"num_predict": 2, "rig_pause": 2 * PATIENCE}
    body = json.dumps({"model": "tiny:8b", "options": options})
    connection.request("POST", CHAT, body, {"Authorization": "Bearer " + KEYS["anna"], "Host": "localhost"})
    assert json.loads(connection.getresponse().readline())["done"] is False, "the second word comes much later"
    connection.close()


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
    until(lambda: front.log()[-1:] and front.log()[-1]["key"] == "ben")
    line = front.log()[-1]
    assert (line["model"], line["status"], line["path"], line["server"]) == ("tiny:8b", 200, CHAT, "a_gpu0")
    assert line["first_byte_ms"] >= 0 and line["duration_ms"] >= 0 and line["bytes_sent"] > 100
    text = front.log_path.read_text(encoding="utf-8")
    assert "a-secret-word" not in text and KEYS["ben"] not in text


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
