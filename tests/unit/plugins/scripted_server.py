# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A tiny HTTP server for tests: answers come from a table, every request is kept."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import threading

RECORDINGS = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "recordings"


def recorded(file="ollama-0.32.15-api.json"):
    """{name: entry} of a file of recordings."""
    return {entry["name"]: entry for entry in json.loads((RECORDINGS / file).read_text())}


class Request:
    """What came: method, path, headers, body (bytes), json."""

    def __init__(self, handler):
        self.method, self.path, self.headers = handler.command, handler.path, handler.headers
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    @property
    def json(self):
        return json.loads(self.body)


class ScriptedServer:
    """routes: {(method, path): answer}, the path with its query or without; an answer is (status, body), (status, body,
    headers), or a function of (request, handler) that gives one or None.

    A list of answers is used up one by one, the last one stays. A dict or list as body is JSON; a list in an "ndjson"
    answer is one line each.
    """

    def __init__(self, routes):
        self.routes = dict(routes)
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                request = Request(self)
                outer.requests.append(request)
                known = [self.path, self.path.partition("?")[0]]
                answers = [outer.routes[self.command, path] for path in known if (self.command, path) in outer.routes]
                answer = answers[0] if answers else (404, {"error": "no route"})
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                if callable(answer):
                    answer = answer(request, self)
                if answer is not None:
                    self.send(*answer)

            def send(self, status, body, headers=()):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *unused):
                pass

            do_GET = do_POST = do_HEAD = do_DELETE = _serve

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.host = "127.0.0.1:%d" % self.port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def paths(self):
        return [(request.method, request.path) for request in self.requests]


@contextlib.contextmanager
def serving(routes):
    """A ScriptedServer for the length of a with block."""
    server = ScriptedServer(routes)
    try:
        yield server
    finally:
        server.stop()


def ndjson(*items):
    """Answer of a stream."""
    return 200, b"".join(json.dumps(item).encode() + b"\n" for item in items), {"Content-Type": "application/x-ndjson"}


def replay(entry):
    """Answer of a recorded entry."""
    body = entry["response"]["body"]
    if isinstance(body, list) and "ndjson" in entry["response"]["content_type"]:
        return ndjson(*body)
    return entry["response"]["status"], b"" if body == "" else body


def ranges(content):
    """Answer function that serves `content` (bytes) with Range."""

    def answer(request, unused):
        text = request.headers.get("Range")
        if not text:
            return 200, content
        first, last = (int(number or len(content) - 1) for number in text.partition("=")[2].split("-"))
        if first >= len(content):
            return 416, b""
        return 206, content[first : last + 1]

    return answer
