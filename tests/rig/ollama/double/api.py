# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The HTTP API, as far as tests and modules need it: an unknown path gives 404, an unknown field 501."""

from __future__ import annotations

import hashlib
import http.server
import ipaddress
import json
import os
import re
import socket
import socketserver
import tempfile
import time
import traceback

from . import create, generate, gotext, names, pull, settings
from .errors import ApiError
from .models import Model
from .version import FAULT, VERSION

_JSON, _PLAIN_JSON, _LINES = "application/json; charset=utf-8", "application/json", "application/x-ndjson"
# Fields that each request may carry. The real server ignores others; here a misspelt one is an error.
_FIELDS = {
    "/api/show": {"model", "name", "verbose"},
    "/api/create": {
        "model",
        "name",
        "from",
        "files",
        "adapters",
        "draft_files",
        "template",
        "license",
        "system",
        "parameters",
        "messages",
        "renderer",
        "parser",
        "requires",
        "stream",
        "modelfile",
    },
    "/api/pull": {"model", "name", "insecure", "stream"},
    "/api/copy": {"source", "destination"},
    "/api/delete": {"model", "name"},
    "/api/generate": {
        "model",
        "prompt",
        "system",
        "raw",
        "stream",
        "keep_alive",
        "options",
        "logprobs",
        "top_logprobs",
    },
    "/api/chat": {"model", "messages", "stream", "keep_alive", "options"},
    "/api/embed": {"model", "input", "keep_alive", "options"},
}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Listens at once, and answers after `serve_forever` is called, which happens after the discovery of GPUs."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, store):
        self.store, self.scheduler = store, None
        self.address_family, _kind, _protocol, _name, found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        self.loopback = ipaddress.ip_address(found[0]).is_loopback
        super().__init__(address, Handler)

    def server_bind(self):
        """Skip the reverse look-up of the base class."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address[:2]


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "", ""
    disable_nagle_algorithm = True

    def log_message(self, format, *args):  # noqa: A002 - the base class's name
        """The journal gets the line of gin instead."""

    def send_header(self, keyword, value):
        """Go sends no Server header."""
        if keyword != "Server":
            super().send_header(keyword, value)

    def _handle(self):
        begun = time.monotonic()
        self.status = 0
        self.rest = int(self.headers.get("Content-Length") or 0)
        try:
            if not self._host_allowed():
                self._send(403, None, b"")
            else:
                self._route()
        except ApiError as error:
            self._json(error.status, {"error": error.text})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except OSError as error:
            self._json(500, {"error": "open %s: %s" % (error.filename, (error.strerror or str(error)).lower())})
        except Exception as error:  # pylint: disable=broad-except  # a fault of the double must be seen, and not end it
            gotext.write(traceback.format_exc())
            self._json(500, {"error": "fault of the double: %r" % (error,)})
        finally:
            if self.rest:  # a body that nobody read
                self.close_connection = True
        if self.path not in ("/", "/api/version"):
            gotext.write(
                '[GIN] %s | %d | %12.6fms | %15s | %-8s "%s"'
                % (
                    time.strftime("%Y/%m/%d - %H:%M:%S"),
                    self.status,
                    (time.monotonic() - begun) * 1e3,
                    self.client_address[0],
                    self.command,
                    self.path,
                )
            )

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = _handle

    def _host_allowed(self):
        """A server on loopback answers only requests for a local host name (routes.go allowedHostsMiddleware)."""
        if not self.server.loopback:
            return True
        name = re.sub(r":\d+$", "", self.headers.get("Host") or "").strip("[]").lower()
        try:
            address = ipaddress.ip_address(name)
            return address.is_loopback or address.is_private or address.is_unspecified
        except ValueError:
            return name in ("", "localhost", socket.gethostname().lower()) or name.endswith(
                (".localhost", ".local", ".internal")
            )

    def _route(self):
        path = self.path.split("?", 1)[0]
        if FAULT == "answers-500":
            raise ApiError(500, "this release answers nothing else")
        if path.startswith("/api/blobs/"):
            path, methods = "/api/blobs/", {"HEAD": self._blob_head, "POST": self._blob_post}
        else:
            methods = {
                "/": {"GET": self._root, "HEAD": self._root},
                "/api/version": {"GET": self._version, "HEAD": self._version},
                "/api/status": {"GET": self._status},
                "/api/tags": {"GET": self._tags, "HEAD": self._tags},
                "/api/ps": {"GET": self._ps},
                "/api/show": {"POST": self._show},
                "/api/create": {"POST": self._create},
                "/api/pull": {"POST": self._pull},
                "/api/copy": {"POST": self._copy},
                "/api/delete": {"DELETE": self._delete},
                "/api/generate": {"POST": self._generate},
                "/api/chat": {"POST": self._chat},
                "/api/embed": {"POST": self._embed},
                "/v1/models": {"GET": self._openai_models},
            }.get(path)
        if methods is None:
            self._send(404, "text/plain", b"404 page not found")
        elif self.command not in methods:
            self._send(405, "text/plain", b"405 method not allowed")
        else:
            methods[self.command]()

    # Bodies

    def _body(self):
        raw = self.rfile.read(self.rest)
        self.rest = 0
        if not raw:
            raise ApiError(400, "missing request body")
        text = raw.decode("utf-8", "replace")
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ApiError(400, gotext.json_error(text, error)) from None
        if not isinstance(found, dict):
            raise ApiError(400, "json: cannot unmarshal into Go value")
        # The clients of others send every field that they know; one without a value says nothing.
        unknown = sorted(name for name in set(found) - _FIELDS[self.path] if found[name] not in ([], {}, "", None))
        if unknown:
            raise ApiError(501, "the double knows no field %s of %s" % (", ".join(unknown), self.path))
        return found

    def _send(self, status, kind, body):
        self.status = status
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status, value, kind=_JSON):
        if self.status:  # a stream has begun: nothing more can be said
            self.close_connection = True
            return
        self._send(status, kind, gotext.dumps(value).encode())

    def _stream(self, objects, wanted):
        """Send progress as lines or, without streaming, the last object or the error with its status."""
        if not wanted:
            last = None
            try:
                for last in objects:
                    pass
            except ApiError as error:
                return self._json(error.status, {"error": error.text}, _PLAIN_JSON)
            return self._json(200, last, _PLAIN_JSON)
        self._chunks(objects)

    def _chunks(self, objects):
        self.status = 200
        self.send_response(200)
        self.send_header("Content-Type", _LINES)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for value in objects:
                self._chunk(value)
        except ApiError as error:
            self._chunk({"error": error.text})
        finally:
            objects.close()
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, value):
        line = (gotext.dumps(value) + "\n").encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    # What needs no model

    def _root(self):
        self._send(200, "text/plain; charset=utf-8", b"Ollama is running")

    def _version(self):
        self._json(200, {"version": "0.0.1" if FAULT == "wrong-version" else VERSION})

    def _status(self):
        disabled = settings.boolean("OLLAMA_NO_CLOUD")
        self._json(200, {"cloud": {"disabled": disabled, "source": "env" if disabled else "none"}})

    def _models(self):
        found = []
        for manifest in sorted(self.server.store.all(), key=lambda manifest: -manifest.modified[0]):
            try:
                found.append(Model(self.server.store, manifest))
            except (OSError, ValueError, KeyError):
                continue
        return found

    def _tags(self):
        found = []
        for model in self._models():
            try:
                found.append(model.listed())
            except (OSError, ValueError):
                gotext.log("WARN", "routes.go:1500", "skipping model", name=model.name.shortest)
        self._json(200, {"models": found})

    def _ps(self):
        self._json(200, {"models": self.server.scheduler.listed()})

    def _openai_models(self):
        data = [
            {
                "id": model.name.shortest,
                "object": "model",
                "created": model.manifest.modified[0],
                "owned_by": model.name.namespace,
            }
            for model in self._models()
        ]
        self._json(200, {"object": "list", "data": data}, _PLAIN_JSON)

    # Models

    def _manifest(self, name, message):
        manifest = self.server.store.load(name)
        if manifest is None:
            raise ApiError(404, message)
        return manifest

    def _show(self):
        request = self._body()
        text = request.get("model") or request.get("name")
        if not text:
            raise ApiError(400, "model is required")
        name = names.parse(text)
        model = Model(self.server.store, self._manifest(name, "model '%s' not found" % name.shortest))
        self._json(200, model.show(bool(request.get("verbose"))))

    def _create(self):
        request = self._body()
        name = names.parse(request.get("model") or request.get("name") or "")
        self._stream(
            create.create(self.server.store, self.server.store.existing(name), request), request.get("stream", True)
        )

    def _pull(self):
        request = self._body()
        name = names.parse(request.get("model") or request.get("name") or "")
        self._stream(
            pull.pull(self.server.store, self.server.store.existing(name), bool(request.get("insecure"))),
            request.get("stream", True),
        )

    def _copy(self):
        request = self._body()
        source, target = names.parse(request.get("source", "")), names.parse(request.get("destination", ""))
        manifest = self._manifest(source, 'model "%s" not found' % request["source"])
        self.server.store.copy(manifest.name, self.server.store.existing(target))
        self._send(200, None, b"")

    def _delete(self):
        request = self._body()
        text = request.get("model") or request.get("name") or ""
        self.server.store.delete(self._manifest(names.parse(text), "model '%s' not found" % text))
        self._send(200, None, b"")

    def _digest(self):
        return self.path[len("/api/blobs/") :]

    def _blob_head(self):
        try:
            path = self.server.store.blob_path(self._digest())
        except ApiError as error:
            return self._json(error.status, {"error": error.text})
        if not os.path.exists(path):
            return self._json(404, {"error": "blob not found"})
        self._send(200, None, b"")

    def _blob_post(self):
        path, digest = self.server.store.blob_path(self._digest()), hashlib.sha256()
        if os.path.exists(path):
            self.rfile.read(self.rest)
            self.rest = 0
            return self._send(200, None, b"")
        handle, partial = tempfile.mkstemp(dir=self.server.store.blobs, prefix="sha256-")
        with os.fdopen(handle, "wb") as stream:
            while self.rest:
                data = self.rfile.read(min(self.rest, 1 << 20))
                if not data:
                    break
                self.rest -= len(data)
                digest.update(data)
                stream.write(data)
        if "sha256:" + digest.hexdigest() != self._digest():
            os.unlink(partial)
            raise ApiError(
                400, 'digest mismatch, expected "%s", got "sha256:%s"' % (self._digest(), digest.hexdigest())
            )
        os.chmod(partial, 0o644)
        os.replace(partial, path)
        self._send(201, None, b"")

    # Answers

    def _answer(self, chat):
        request = self._body()
        text = request.get("model") or ""
        name = names.parse(text)
        model = Model(self.server.store, self._manifest(name, "model '%s' not found" % text))
        objects = generate.answer(self.server.scheduler, model, request, chat)
        first = next(objects)  # a failed load is an error with its status, not a line
        everything = _chain(first, objects)
        if first.get("done") or not request.get("stream", True):
            return self._json(200, generate.joined(everything, chat))
        self._chunks(everything)

    def _generate(self):
        self._answer(False)

    def _chat(self):
        self._answer(True)

    def _embed(self):
        request = self._body()
        text = request.get("model") or ""
        manifest = self._manifest(names.parse(text), 'model "%s" not found, try pulling it first' % text)
        self._json(200, generate.embed(self.server.scheduler, Model(self.server.store, manifest), request))


def _chain(first, rest):
    try:
        yield first
        yield from rest
    finally:
        rest.close()
