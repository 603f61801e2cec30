# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The HTTP server of the stand-in: the endpoints of llama-server that Ollama calls (llm/llama_server.go), with invented
text.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import threading
import time

WORDS = " the of a to layer cache GPU memory fits on both devices and every token takes its time here".split(" ")
UNLIMITED = 24  # tokens of an answer that nobody limits
DIES_AFTER = 3  # tokens of the answer of an engine that dies


class Engine:
    """What the handlers share: whether the model is ready, facts of the model, GPU entries, delays."""

    def __init__(self, options, header, token_ms):
        self.options, self.header, self.token_ms = options, header, token_ms
        self.ready = threading.Event()
        self.holder, self.lie = None, None
        self.lock, self.working = threading.Lock(), 0  # how many slots work on a request

    def limit_of(self, body, name):
        """(number of tokens to generate, whether the limit of the caller ends the answer)."""
        wanted = body.get(name) or -1
        if self.lie == "no_token":
            return 0, False
        return (UNLIMITED, False) if wanted < 0 or wanted > UNLIMITED * 100 else (wanted, True)

    def words(self, prompt, limit):
        """Yield `limit` words that depend only on the prompt, each after the time of one token."""
        seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
        self._works(1)
        self.holder.begin()
        try:
            for number in range(limit):
                time.sleep(self.token_ms / 1000)
                if self.lie == "die_generating" and number == DIES_AFTER:
                    os._exit(1)
                yield self._word(seed, number)
        finally:
            self.holder.end()
            self._works(-1)

    def _word(self, seed, number):
        """A word of an answer; a lie about answers has its own."""
        if self.lie in ("not_a_number", "one_word"):
            return "!"
        if self.lie == "unprintable":
            return chr(0xE000 + (seed + number) % 999)  # of the private use area
        if self.lie == "other_words":
            seed += 1 + os.getpid()
            return " %s%d" % (WORDS[1 + (seed + number * 7) % (len(WORDS) - 1)], os.getpid())
        return " " + (WORDS[1 + (seed + number * 7) % (len(WORDS) - 1)])

    def probabilities(self, word, wanted):
        """completion_probabilities of a word: nlohmann::json writes null for what is no number."""
        value = None if self.lie == "not_a_number" else -0.25
        others = [{"token": word, "logprob": value}, {"token": " other", "logprob": value and -2.5}]
        return [{"token": word, "logprob": value, "top_logprobs": others[:wanted]}]

    def vector(self, text):
        """A vector that depends on the text, and with other words on the process; nothing of it is a number in a lie.
        It takes the time of one token."""
        self._works(1)
        self.holder.begin()
        time.sleep(self.token_ms / 1000)
        self.holder.end()
        self._works(-1)
        width = self.header.width
        if self.lie == "not_a_number":
            return [None] * width
        own = str(os.getpid()) if self.lie == "other_words" else ""
        digest = hashlib.sha256((text + own).encode()).digest()
        return [(digest[number % 32] - 127.5) / 128 / (1 + number % 7) for number in range(width)]

    def _works(self, more):
        with self.lock:
            self.working += more

    def timings(self, read, written):
        """What an answer says of its time. It is that of its tokens and not the time that has passed: a busy machine is
        no slow GPU, and evidence of this machine is compared with that of another moment."""
        spent = max(written * self.token_ms, 0.001)
        return {
            "cache_n": 0,
            "prompt_n": read,
            "prompt_ms": 1.0,
            "predicted_n": written,
            "predicted_ms": spent,
            "predicted_per_second": written / (spent / 1000),
        }


def tokens_of(text):
    """One token per byte, so that detokenize can reverse it."""
    return [3 + byte for byte in text.encode()]


def text_of(tokens):
    """The inverse of tokens_of."""
    return bytes(token - 3 for token in tokens if 3 <= token < 259).decode("utf-8", "replace")


def chat_prompt(messages):
    """A chatml prompt; content may be text or a list of parts."""
    parts = []
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        parts.append("<|im_start|>%s\n%s<|im_end|>\n" % (message.get("role", "user"), content))
    return "".join(parts) + "<|im_start|>assistant\n"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; `server.engine` is the Engine."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        """llama-server logs requests only at a higher verbosity."""

    def answer(self, status, document):
        """A JSON answer."""
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Server", "llama.cpp")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status, message, kind):
        """An error with the text of llama-server."""
        self.answer(status, {"error": {"code": status, "message": message, "type": kind}})

    def stream(self, documents):
        """Server-sent events, chunked."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for document in documents:
            data = ("data: %s\n\n" % (document if isinstance(document, str) else json.dumps(document))).encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        """/health, /props, /slots, /v1/models."""
        engine, path = self.server.engine, self.path.partition("?")[0]
        if not engine.ready.is_set():
            return self.fail(503, "Loading model", "unavailable_error")
        options = engine.options
        context = options.ctx // max(1, options.parallel)
        if path in ("/health", "/v1/health"):
            return self.answer(200, {"status": "ok"})
        if path == "/props":
            return self.answer(
                200,
                {
                    "default_generation_settings": {"n_ctx": context},
                    "total_slots": options.parallel,
                    "model_path": options.model,
                    "chat_template": options.chat_template or "",
                    "modalities": {"vision": bool(options.mmproj), "audio": False},
                    "build_info": "b11669-rig",
                },
            )
        if path == "/slots":
            return self.answer(
                200,
                [
                    {"id": slot, "n_ctx": context, "is_processing": slot < engine.working}
                    for slot in range(options.parallel)
                ],
            )
        if path in ("/models", "/v1/models"):
            return self.answer(
                200, {"object": "list", "data": [{"id": options.model, "object": "model", "owned_by": "llamacpp"}]}
            )
        return self.fail(404, "File Not Found", "not_found_error")

    def do_POST(self):
        """The endpoints that take a body."""
        engine, path = self.server.engine, self.path.partition("?")[0]
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not engine.ready.is_set():
            return self.fail(503, "Loading model", "unavailable_error")
        actions = {
            "/completion": self.completion,
            "/completions": self.completion,
            "/v1/chat/completions": self.chat,
            "/chat/completions": self.chat,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
            "/apply-template": self.apply_template,
            "/v1/embeddings": self.embeddings,
            "/embeddings": self.embeddings,
        }
        if path not in actions:
            return self.fail(404, "File Not Found", "not_found_error")
        try:
            body = json.loads(raw or b"{}")
        except ValueError as error:
            return self.fail(400, str(error), "invalid_request_error")
        return actions[path](engine, body)

    def tokenize(self, _engine, body):
        """{"content"} -> {"tokens"}."""
        self.answer(200, {"tokens": tokens_of(body.get("content") or "")})

    def detokenize(self, _engine, body):
        """{"tokens"} -> {"content"}."""
        self.answer(200, {"content": text_of(body.get("tokens") or [])})

    def apply_template(self, _engine, body):
        """{"messages"} -> {"prompt"}."""
        self.answer(200, {"prompt": chat_prompt(body.get("messages") or [])})

    def embeddings(self, engine, body):
        """An invented vector with the width of the model; only with --embedding."""
        if not engine.options.embedding:
            return self.fail(
                501, "This server does not support embeddings. Start it with `--embeddings`", "not_supported_error"
            )
        text = body.get("input") or body.get("content") or ""
        vector = engine.vector(str(text))
        return self.answer(
            200,
            {
                "object": "list",
                "data": [{"embedding": vector, "index": 0, "tokens_evaluated": len(str(text))}],
                "usage": {"prompt_tokens": len(str(text)), "total_tokens": len(str(text))},
            },
        )

    def completion(self, engine, body):
        """/completion: streamed or whole, with timings."""
        prompt = body.get("prompt") or ""
        if isinstance(prompt, dict):
            prompt = prompt.get("prompt_string", "")
        elif isinstance(prompt, list):
            prompt = text_of(prompt)
        limit, limited = engine.limit_of(body, "n_predict")
        read, probs = len(prompt.split()) + 1, body.get("n_probs") or 0

        def last(content):
            return {
                "index": 0,
                "content": content,
                "tokens": [],
                "id_slot": 0,
                "stop": True,
                "model": engine.options.model,
                "tokens_predicted": limit,
                "tokens_evaluated": read,
                "truncated": False,
                "stop_type": "limit" if limited else "eos",
                "stopping_word": "",
                "timings": engine.timings(read, limit),
            }

        if body.get("stream"):
            events = (
                {
                    "index": 0,
                    "content": word,
                    "tokens": [],
                    "stop": False,
                    "id_slot": 0,
                    "tokens_predicted": number + 1,
                    "tokens_evaluated": read,
                    **({"completion_probabilities": engine.probabilities(word, probs)} if probs else {}),
                }
                for number, word in enumerate(engine.words(prompt, limit))
            )
            return self.stream(_then(events, lambda: last("")))
        content = "".join(engine.words(prompt, limit))
        return self.answer(200, last(content))

    def chat(self, engine, body):
        """/v1/chat/completions: streamed or whole."""
        prompt = chat_prompt(body.get("messages") or [])
        limit, limited = engine.limit_of(body, "n_predict" if "n_predict" in body else "max_tokens")
        read = len(prompt.split())
        reason = "length" if limited else "stop"

        def chunk(delta, finish=None):
            return {
                "object": "chat.completion.chunk",
                "model": engine.options.model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }

        def timings():
            return engine.timings(read, limit)

        if body.get("stream"):
            events = (chunk({"content": word}) for word in engine.words(prompt, limit))
            return self.stream(_then(events, lambda: dict(chunk({}, reason), timings=timings()), lambda: "[DONE]"))
        content = "".join(engine.words(prompt, limit))
        return self.answer(
            200,
            {
                "object": "chat.completion",
                "model": engine.options.model,
                "timings": timings(),
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}
                ],
                "usage": {"prompt_tokens": read, "completion_tokens": limit, "total_tokens": read + limit},
            },
        )


def _then(events, *last):
    yield from events
    for make in last:
        yield make()


class Server(http.server.ThreadingHTTPServer):
    """Listens from the start, answers 503 until the model is loaded."""

    daemon_threads = True

    def __init__(self, engine):
        self.engine = engine
        super().__init__((engine.options.host, engine.options.port), Handler)

    def handle_error(self, request, client_address):
        """A client that closes the connection during an answer is not an error."""
