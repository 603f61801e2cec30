# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import json
import socket
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import client as client_file
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import connection, pull_progress
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import (
    OllamaClient,
    OllamaError,
    OllamaUnreachable,
)

from tests.rig.waiting import AT_ONCE
from tests.unit.plugins.scripted_server import ndjson, recorded, replay, serving

RECORDED = recorded()


def client_of(server, timeout=60):
    return OllamaClient(server.url, timeout)


def test_reading_calls_replay_the_recordings():
    routes = {
        ("GET", "/api/version"): replay(RECORDED["version"]),
        ("GET", "/api/tags"): replay(RECORDED["tags"]),
        ("GET", "/api/ps"): replay(RECORDED["ps-empty"]),
        ("POST", "/api/show"): replay(RECORDED["show"]),
    }
    with serving(routes) as server:
        client = client_of(server)
        assert client.version() == "0.32.15"
        assert [item["name"] for item in client.tags()][0] == "127.0.0.1:5001/library/tiny:latest"
        assert client.ps() == []
        assert client.show("tiny")["system"] == "You are tiny."
        assert server.requests[-1].json == {"model": "tiny", "verbose": False}


@pytest.mark.parametrize(
    "name, call",
    [
        ("show-unknown-model", lambda client: client.show("nope")),
        ("generate-unknown-model", lambda client: client.load("nope")),
        ("copy-unknown-model", lambda client: client.copy("nope", "x")),
        ("delete-unknown-model", lambda client: client.delete("nope")),
    ],
)
def test_recorded_errors_have_the_status_and_the_servers_words(name, call):
    entry = RECORDED[name]
    with serving({(entry["request"]["method"], entry["request"]["path"]): replay(entry)}) as server:
        with pytest.raises(OllamaError) as caught:
            call(client_of(server))
    assert caught.value.status == entry["response"]["status"] == 404
    assert caught.value.message == entry["response"]["body"]["error"]


@pytest.mark.parametrize(
    "name",
    [
        "pull-unknown-tag",
        "pull-fault-500",
        "pull-fault-401",
        "pull-fault-badjson",
        "pull-fault-corrupt",
        "pull-fault-direct200",
        "pull-unreachable",
    ],
)
def test_an_error_line_under_http_200_is_an_error_and_final(name):
    with serving({("POST", "/api/pull"): replay(RECORDED[name])}) as server:
        with pytest.raises(OllamaError) as caught:
            client_of(server).pull("x", insecure=True, pause=0)
        assert len(server.requests) == 1
    assert caught.value.message == RECORDED[name]["response"]["body"][-1]["error"]


def test_a_pull_tells_what_came_over_the_network():
    digest = "sha256:" + "a" * 64
    lines = [{"status": "pulling manifest"}] + [
        {"status": "pulling aaa", "digest": digest, "total": 100, "completed": done} for done in (0, 40, 100)
    ]
    with serving({("POST", "/api/pull"): ndjson(*lines, {"status": "success"})}) as server:
        result = client_of(server).pull("x")
        assert server.requests[0].json == {"model": "x", "insecure": False, "stream": True}
    assert result == {"blobs": {digest: 100}, "attempts": 1}


def test_pulling_what_is_there_moves_nothing():
    with serving({("POST", "/api/pull"): replay(RECORDED["pull-again"])}) as server:
        assert sum(client_of(server).pull("x")["blobs"].values()) == 0


def cut_after(*lines):
    """Answer that promises more than it sends and closes."""

    def answer(unused, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for line in lines:
            handler.wfile.write(json.dumps(line).encode() + b"\n")
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    return answer


def progress(done):
    return {"status": "pulling a", "digest": "sha256:a", "total": 100, "completed": done}


def test_a_cut_pull_is_taken_up_again():
    answers = [
        cut_after(progress(0), progress(30)),
        cut_after(progress(30), progress(60)),
        ndjson(progress(60), progress(100), {"status": "success"}),
    ]
    with serving({("POST", "/api/pull"): answers}) as server:
        result = client_of(server).pull("x", pause=0)
    assert result == {"blobs": {"sha256:a": 100}, "attempts": 3}


def test_a_pull_that_is_cut_without_progress_is_given_up():
    with serving({("POST", "/api/pull"): cut_after(progress(0))}) as server:
        with pytest.raises(OllamaUnreachable, match="closed in the middle"):
            client_of(server).pull("x", pause=0, attempts=3)
        assert len(server.requests) == 3


def test_a_pull_that_ends_without_success_is_no_success():
    with serving({("POST", "/api/pull"): ndjson({"status": "pulling manifest"})}) as server:
        with pytest.raises(OllamaUnreachable, match="without success"):
            client_of(server).pull("x", pause=0, attempts=2)


def test_a_resumable_message_of_the_registry_is_tried_again():
    answers = [ndjson({"error": "max retries exceeded: unexpected EOF"}), ndjson({"status": "success"})]
    with serving({("POST", "/api/pull"): answers}) as server:
        assert client_of(server).pull("x", pause=0)["attempts"] == 2


def slowly(*lines, pause):
    def answer(unused, handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for line in lines:
            handler.wfile.write(json.dumps(line).encode() + b"\n")
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True

    return answer


def test_the_time_limit_is_that_of_a_stall_not_of_the_pull():
    lines = [progress(done) for done in (0, 25, 50, 75, 100)] + [{"status": "success"}]
    with serving({("POST", "/api/pull"): slowly(*lines, pause=1.2)}) as server:
        # One attempt takes longer than that. On a busy machine a second one may be needed.
        assert client_of(server).pull("x", stall_timeout=6, pause=0)["attempts"]


def test_a_stall_is_named():
    with serving({("POST", "/api/pull"): slowly(progress(0), pause=2)}) as server:
        with pytest.raises(OllamaUnreachable, match="sent nothing for"):
            client_of(server).pull("x", stall_timeout=0.3, attempts=1)


def test_a_load_waits_and_sends_what_ollama_expects():
    with serving({("POST", "/api/generate"): (200, {"done": True, "done_reason": "load"})}) as server:
        client_of(server).load("m", keep_alive=-1)
        client_of(server).unload("m")
        assert [request.json for request in server.requests] == [
            {"model": "m", "keep_alive": -1, "stream": False},
            {"model": "m", "keep_alive": 0, "stream": False},
        ]


def test_a_model_that_makes_vectors_only_is_loaded_by_a_request_for_none():
    refused = {"error": '"m" does not support generate'}
    answers = {("POST", "/api/generate"): (400, refused), ("POST", "/api/embed"): (200, {"embeddings": []})}
    with serving(answers) as server:
        assert client_of(server).load("m", keep_alive="10m", options={"num_ctx": 512}) == {"embeddings": []}
        asked = {"model": "m", "keep_alive": "10m", "options": {"num_ctx": 512}}
        assert [request.json for request in server.requests] == [dict(asked, stream=False), dict(asked, input="")]


def test_log_probabilities_and_vectors_are_asked_for():
    answers = {
        ("POST", "/api/generate"): (200, {"response": "x"}),
        ("POST", "/api/embed"): (200, {"embeddings": [[1]]}),
    }
    with serving(answers) as server:
        client = client_of(server)
        client.generate("m", "p", {"temperature": 0}, top_logprobs=5)
        client.generate("m", "p")
        assert client.embed("m", "p", keep_alive=-1, options={"num_ctx": 512}) == [1]
        asked = {"model": "m", "prompt": "p", "stream": False}
        assert [request.json for request in server.requests] == [
            dict(asked, options={"temperature": 0}, logprobs=True, top_logprobs=5),
            asked,
            {"model": "m", "input": "p", "options": {"num_ctx": 512}, "keep_alive": -1},
        ]


@pytest.mark.parametrize("answer", [{}, {"embeddings": []}, {"embeddings": "x"}, {"embeddings": [None]}])
def test_an_answer_without_a_vector_has_none(answer):
    with serving({("POST", "/api/embed"): (200, answer)}) as server:
        assert client_of(server).embed("m", "p") == []


def test_create_replays_the_recording():
    with serving({("POST", "/api/create"): replay(RECORDED["create-from"])}) as server:
        assert client_of(server).create({"model": "x", "from": "y"})[-1] == {"status": "success"}
    with serving({("POST", "/api/create"): replay(RECORDED["create-from-unknown-stream"])}) as server:
        with pytest.raises(OllamaError, match="connection refused"):
            client_of(server).create({"model": "x", "from": "y"})


def test_a_blob_is_sent_only_when_it_is_missing(tmp_path):
    path = tmp_path / "adapter"
    path.write_bytes(b"hello")
    url = "/api/blobs/sha256:" + "1" * 64
    with serving({("HEAD", url): [(404, b""), (200, b"")], ("POST", url): (201, b"")}) as server:
        client = client_of(server)
        client.put_blob("sha256:" + "1" * 64, str(path))
        client.put_blob("sha256:" + "1" * 64, str(path))
        assert server.paths() == [("HEAD", url), ("POST", url), ("HEAD", url)]
        assert server.requests[1].body == b"hello"


@pytest.mark.parametrize(
    "answer, words",
    [
        ((200, b"<html>"), "is not JSON"),
        ((200, []), "not a JSON object"),
        ((403, b""), "answers only to loopback host names"),
        ((502, b"<html>bad gateway</html>"), "answered 502"),
        ((500, {"error": {"nested": 1}}), "answered 500"),
    ],
)
def test_another_program_on_the_port_is_one_sentence(answer, words):
    with serving({("GET", "/api/version"): answer}) as server:
        with pytest.raises(OllamaError, match=words):
            client_of(server).version()


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d" % taken.getsockname()[1]
        with pytest.raises(OllamaUnreachable, match="connection refused") as caught:
            OllamaClient(url).version()
    assert caught.value.url == url
    with pytest.raises(OllamaUnreachable, match="host name"):
        OllamaClient("http://no-such-host.invalid:11434", 5).version()


def test_a_proxy_of_the_environment_is_not_asked_for_this_host(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving({("GET", "/api/version"): (200, {"version": "1"})}) as server:
        assert client_of(server).version() == "1"


def drip(head, piece, pause=0.05):
    """Answer that sends `head`, then `piece` again and again for 100 seconds."""

    def answer(unused, handler):
        try:
            handler.wfile.write(head)
            for _piece in range(int(100 / pause)):
                handler.wfile.write(piece)
                handler.wfile.flush()
                time.sleep(pause)
        except OSError:
            pass
        handler.close_connection = True

    return answer


#: Seconds that a server may be silent: more than one that sends all the time needs on a busy machine. NO_SILENCE and
#: these are the seconds after which an answer has to be done.
SILENCE, NO_SILENCE = 5.0, -4.5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n"


@pytest.mark.parametrize("head", [HEAD, HEAD + b"\r\n", HEAD.replace(b"200", b"500") + b"\r\n"])
def test_a_drip_is_given_up(monkeypatch, head):
    monkeypatch.setattr(connection, "SPARE", NO_SILENCE)
    with serving({("GET", "/api/version"): drip(head, b"x")}) as server:
        begin = time.monotonic()
        with pytest.raises(OllamaError, match="was not done with its answer|answered 500"):
            client_of(server, SILENCE).version()
        assert time.monotonic() - begin < AT_ONCE


def test_a_line_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "SPARE", NO_SILENCE)
    with serving({("POST", "/api/pull"): drip(HEAD + b"\r\n", b" ")}) as server:
        begin = time.monotonic()
        with pytest.raises(OllamaUnreachable, match="was not done with its answer"):
            client_of(server).pull("x", stall_timeout=SILENCE, attempts=1)
        assert time.monotonic() - begin < AT_ONCE


def test_a_pull_that_completes_more_than_there_is_is_given_up(monkeypatch):
    monkeypatch.setattr(pull_progress, "STALLS", 0.2)
    lines = [{"status": "x", "digest": "sha256:a", "total": 2, "completed": number} for number in range(2000)]
    with serving({("POST", "/api/pull"): slowly(*lines, pause=0.05)}) as server:
        with pytest.raises(OllamaUnreachable, match="made no progress"):
            client_of(server).pull("x", stall_timeout=SILENCE, attempts=1)


def test_a_blob_larger_than_in_the_manifest_ends_a_pull():
    lie = {"status": "pulling a", "digest": "sha256:a", "total": 10**18, "completed": 1}
    with serving({("POST", "/api/pull"): slowly(*[lie] * 5, pause=0.01)}) as server:
        for sizes in ({"sha256:a": 100}, None):
            with pytest.raises(OllamaError, match="%d bytes, more than the (100|4 TiB)" % 10**18):
                client_of(server).pull("x", sizes=sizes, pause=0)
        assert len(server.requests) == 2


def test_a_pull_that_breaks_off_after_a_little_each_time_is_given_up(monkeypatch):
    monkeypatch.setattr(client_file, "MAX_RESUMPTIONS", 10)
    answers = [ndjson(progress(done), {"error": "unexpected EOF"}) for done in range(40)]
    with serving({("POST", "/api/pull"): answers}) as server:
        with pytest.raises(OllamaUnreachable, match=r"taken up again 10 times and broke off each time \(unexpected"):
            client_of(server).pull("x", pause=0)
        assert len(server.requests) == 11


def test_a_pull_that_says_the_same_for_ever_is_given_up(monkeypatch):
    monkeypatch.setattr(pull_progress, "STALLS", 0.2)
    with serving({("POST", "/api/pull"): drip(HEAD + b"\r\n", b'{"status": "pulling"}\n')}) as server:
        begin = time.monotonic()
        with pytest.raises(OllamaUnreachable, match="made no progress"):
            client_of(server).pull("x", stall_timeout=SILENCE, attempts=1)
        assert time.monotonic() - begin < AT_ONCE


@pytest.mark.parametrize(
    "body, words",
    [
        (b'{"a": "' + b"x" * 33 * 1024 * 1024 + b'"}', "is larger than"),
        (b'{"version":' + b"[" * 100000 + b"]" * 100000 + b"}", "nests more than"),
    ],
)
def test_an_answer_that_is_too_much_is_one_sentence(body, words):
    with serving({("GET", "/api/version"): (200, body)}) as server:
        with pytest.raises(OllamaError, match=words) as caught:
            client_of(server).version()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("models", [5, "abc", ["x"], [None], {"a": 1}])
def test_a_list_of_models_that_is_none_is_one_sentence(models):
    answer = {"models": models}
    with serving({("GET", path): (200, answer) for path in ("/api/tags", "/api/ps")}) as server:
        for call in (client_of(server).tags, client_of(server).ps):
            with pytest.raises(OllamaError, match="has no list of models; is this an Ollama server"):
                call()


@pytest.mark.parametrize("entry", [{}, {"name": None}, {"name": 5}, {"name": ""}, {"model": ["x"]}])
def test_a_list_with_a_model_that_has_no_name_is_one_sentence(entry):
    answer = {"models": [{"name": "tiny:latest"}, entry]}
    with serving({("GET", path): (200, answer) for path in ("/api/tags", "/api/ps")}) as server:
        for call in (client_of(server).tags, client_of(server).ps):
            with pytest.raises(OllamaError, match="lists a model without a name; is this an Ollama server"):
                call()


def test_an_entry_has_its_name_and_no_figure_that_is_none():
    told = [
        {"model": "tiny:latest", "size": "5", "size_vram": True, "context_length": "4096", "digest": "a"},
        {"name": "small:latest", "model": "other", "size": 5, "size_vram": 0, "context_length": 4096.5},
    ]
    with serving({("GET", "/api/ps"): (200, {"models": told})}) as server:
        assert client_of(server).ps() == [
            {"name": "tiny:latest", "model": "tiny:latest", "digest": "a"},
            {"name": "small:latest", "model": "other", "size": 5, "size_vram": 0},
        ]


@pytest.mark.parametrize(
    "line",
    [
        {"status": "x", "digest": "sha256:a", "total": 5, "completed": "zz"},
        {"status": "x", "digest": ["a"], "total": 5, "completed": 1},
        {"status": "x", "digest": "sha256:a", "total": "q", "completed": {"a": 1}},
    ],
)
def test_progress_of_another_type_does_not_end_a_pull(line):
    with serving({("POST", "/api/pull"): ndjson(line, {"status": "success"})}) as server:
        assert client_of(server).pull("tiny")["attempts"] == 1
