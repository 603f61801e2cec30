# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Streams of answers: when the first token came, and answers that are none."""

from __future__ import annotations

import json
import threading
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.streams import Streaming, prompt, together
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import OllamaError

from tests.unit.plugins.scripted_server import serving

DONE = {"done": True, "eval_count": 30, "eval_duration": 300_000_000, "prompt_eval_count": 5}


def lines(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects).encode()


def chunk(one):
    """As Ollama sends each line."""
    return b"%x\r\n%s\r\n" % (len(lines(one)), lines(one))


def answering(*objects):
    return {("POST", "/api/generate"): (200, lines(*objects))}


def test_a_request_and_what_is_sent():
    with serving(answering({"response": " a", "done": False}, DONE)) as server:
        found = Streaming(server.url, 5).request("m", "p", 3, "10m")
        assert 0 < found.first_seconds <= found.seconds
        assert (found.tokens, found.tokens_per_second, found.prompt_tokens) == (30, 100.0, 5)
        (request,) = server.requests
        options = {"temperature": 0, "num_predict": 3}
        assert request.json == {"model": "m", "prompt": "p", "stream": True, "keep_alive": "10m", "options": options}


def test_the_first_token_is_timed_before_the_last():
    """The rest of the answer comes only when the first part was read."""
    first, released = threading.Event(), []

    class Watched(Streaming):
        def _parts(self, response):
            for part in super()._parts(response):
                yield part
                first.set()

    def answer(request, handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(chunk({"response": " a", "done": False}))
        handler.wfile.flush()
        assert first.wait(30)
        released.append(time.monotonic())
        handler.wfile.write(chunk(DONE) + b"0\r\n\r\n")
        handler.close_connection = True

    with serving({("POST", "/api/generate"): answer}) as server:
        client = Watched(server.url, 30)
        begun = time.monotonic()
        found = client.request("m", "p", 3, -1)
    assert begun + found.first_seconds <= released[0], "the rest was sent only when the first part was read"


@pytest.mark.parametrize(
    "objects", [[{"error": "engine died"}], [{"response": " a", "done": False}], [{"done": "yes"}]], ids=str
)
def test_an_answer_that_is_not_complete_is_an_error(objects):
    with serving(answering(*objects)) as server, pytest.raises(OllamaError):
        Streaming(server.url, 5).request("m", "p", 3, -1)


def test_what_is_no_json_is_an_error():
    with serving({("POST", "/api/generate"): (200, b"<html>\n")}) as server, pytest.raises(OllamaError, match="JSON"):
        Streaming(server.url, 5).request("m", "p", 3, -1)


def test_all_clients_ask_at_the_same_time():
    """Each answer waits for all requests."""
    barrier = threading.Barrier(4, timeout=30)

    def answer(request, handler):
        barrier.wait()
        return 200, lines(DONE)

    with serving({("POST", "/api/generate"): answer}) as server:
        clients = [Streaming(server.url, 30) for unused in range(4)]
        batch = together(clients, "m", ["a", "b", "c", "d"], 3, -1)
        assert len(batch.requests) == 4 and not batch.disturbed
        assert sorted(request.json["prompt"] for request in server.requests) == ["a", "b", "c", "d"]


def test_no_two_prompts_begin_alike():
    texts = [prompt(32, number) for number in range(100)]
    assert len({text.split()[0] for text in texts}) == 100
    assert {len(text.split()) for text in texts} == {31}
