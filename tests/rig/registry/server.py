# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The HTTP server: answers as in the pull-registry-side entries of the
recordings, with faults, and logs every request.
"""

from __future__ import annotations

import http.server
import json
import pathlib
import re
import socket
import threading
import time

from tests.rig.registry.faults import MESSAGES, Fault, Faults
from tests.rig.registry.login import Login
from tests.rig.registry.store import MANIFEST_TYPE, Content, Store

_ROUTES = (
    ("manifest", re.compile(r"/v2/(?P<target>[^/]+/[^/]+)/manifests/(?P<tag>[^/]+)")),
    ("data", re.compile(r"/v2/cdn/(?P<target>[^/]+/[^/]+)/blobs/(?P<digest>[^/]+)")),
    ("blob", re.compile(r"/v2/(?P<target>[^/]+/[^/]+)/blobs/(?P<digest>[^/]+)")),
    ("release", re.compile(r"/(?P<target>releases/(?P<version>[^/]+)/(?P<name>[^/]+))")),
    ("file", re.compile(r"/(?P<target>files/(?P<name>[^/]+))")),
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_LOGGED_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Range")
_IP_FREEBIND = 15  # linux/in.h; not in the socket module before Python 3.14


class Registry:
    """State that the listening addresses share: store, faults, log, and the other name of each address.

    The log is in memory: an answer that waits for a disk, which other tests keep busy, may come too late.
    """

    def __init__(self, directory: pathlib.Path, addresses: list[str]) -> None:
        self.store = Store(directory)
        self.faults = Faults()
        self.login = Login()
        self.requests: list[dict] = []  # a client that has its answer finds its request here
        self.serving: list[dict] = []  # requests whose answer is on its way; their bytes grow
        self._lock = threading.Lock()
        self._other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}
        if len(addresses) > 1:
            self._other.update({addresses[0]: addresses[1], addresses[1]: addresses[0]})

    def other_name(self, host: str) -> str:
        """Another name of this server for a client that reached it as host (both without port).

        The real client accepts a redirect only to another host name. With the same one, it follows the redirect itself
        and finds no Location.
        """
        return self._other.get(host, host)

    def begin(self, entry: dict) -> None:
        """Note a request that is being served."""
        with self._lock:
            self.serving.append(entry)

    def record(self, entry: dict) -> None:
        """Add a request to the log, unless it is there: before the end of its answer, or when that is cut off."""
        with self._lock:
            if not any(other is entry for other in self.serving):
                return
            self.serving = [other for other in self.serving if other is not entry]
            self.requests.append(entry)


def serve(registry: Registry, addresses: list[str], port: int = 0) -> list[http.server.ThreadingHTTPServer]:
    """Listen on every address with the same port (0 = any free one), each in a thread; OSError if the port is in use.

    An address that no interface has yet is allowed: the gateway of a network exists only while a host runs.
    """
    servers = []
    try:
        for address in addresses:
            server = _Server((address, port), _Handler, registry)
            port = server.server_address[1]
            servers.append(server)
    except OSError:
        for server in servers:
            server.server_close()
        raise
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return servers


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, handler, registry: Registry) -> None:
        self.registry = registry
        super().__init__(address, handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        # Not http.server's own: that one looks up the address's name, which may take seconds.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address) -> None:
        """A client that closes the connection during an answer is not an error here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "gpufleet-rig"
    sys_version = ""
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Serve a manifest, blob, file or the control interface."""
        self._answer()

    do_HEAD = do_GET
    do_POST = do_GET
    do_DELETE = do_GET

    def log_message(self, *_arguments) -> None:
        """The registry writes its own log."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/control/"):
            self._control(path.removeprefix("/control/"))
            return
        if path == "/token":
            self._token()
            return
        for kind, pattern in _ROUTES:
            match = pattern.fullmatch(path)
            if match and self.command in ("GET", "HEAD"):
                kind = "head" if kind == "blob" and self.command == "HEAD" else kind
                self._entry = {
                    "time": time.time(),
                    "client": self.client_address[0],
                    "method": self.command,
                    "path": path,
                    "kind": kind,
                    "target": match["target"],
                    "authorization": (self.headers["Authorization"] or "").partition(" ")[0],
                    "headers": {name: self.headers[name] for name in _LOGGED_HEADERS if name in self.headers},
                    "status": None,
                    "bytes": 0,
                }
                self.server.registry.begin(self._entry)
                try:
                    self._serve(kind, match.groupdict())
                finally:
                    self.server.registry.record(self._entry)
                return
        self._entry = {}
        self._fail(404, "NOT_FOUND", "this server has /v2/<namespace>/<model>, /releases, /files and /control")

    # --- answers ---------------------------------------------------------------------------------

    def _token(self) -> None:
        status, body = self.server.registry.login.token(self.path.partition("?")[2], self.headers["Authorization"])
        self._entry = {}
        self._start(status, {"Content-Type": "application/json"}, len(body))
        self.wfile.write(body)

    def _serve(self, kind: str, parts: dict) -> None:
        registry, target = self.server.registry, parts["target"]
        asked = registry.login.challenge(kind, target, self.headers["Authorization"], self.headers["Host"])
        if asked:
            self._fail(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": asked})
            return
        fault = registry.faults.take(target, kind)
        if fault:
            self._entry["fault"] = fault.fault
            time.sleep(fault.delay)
            if fault.fault in MESSAGES or fault.fault == "blob404":
                status = fault.fault.removeprefix("blob")
                self._fail(int(status), MESSAGES[status], "boom")
                return
        if kind == "manifest":
            text = registry.store.manifest(target, parts["tag"])
            if text is None:
                self._fail(404, "MANIFEST_UNKNOWN", "manifest unknown")
            else:
                self._send(Content(b"{not json" if fault and fault.fault == "badjson" else text), fault, MANIFEST_TYPE)
            return
        if kind == "release":
            content = registry.store.release(parts["version"], parts["name"])
        elif kind == "file":
            content = registry.store.file(parts["name"])
        else:
            content = registry.store.blob(target, parts["digest"])
        if content is None:
            self._fail(
                404,
                "NOT_FOUND" if kind in ("release", "file") else "BLOB_UNKNOWN",
                f"{parts.get('name') or parts.get('digest')} is not here",
            )
        elif kind == "blob" and not (fault and fault.fault == "direct200"):
            status = {"loc302": 302, "loc200": 200}.get(fault.fault if fault else "", 307)
            self._redirect(status, f"/v2/cdn/{target}/blobs/{parts['digest']}")
        else:
            self._send(content, fault, "application/octet-stream", ranges=kind != "head")

    def _redirect(self, status: int, path: str) -> None:
        host, unused, port = (self.headers["Host"] or "127.0.0.1").partition(":")
        self._start(
            status,
            {"Location": f"http://{self.server.registry.other_name(host)}:{port or self.server.server_port}{path}"},
            0,
        )

    def _send(self, content: Content, fault: Fault | None, media_type: str, ranges: bool = True) -> None:
        start, length, status = 0, content.size, 200
        asked = _RANGE.fullmatch(self.headers.get("Range", "")) if ranges else None
        headers = {"Content-Type": media_type, "Accept-Ranges": "bytes"}
        if asked and any(asked.groups()):
            start, length = _range(asked[1], asked[2], content.size)
            if length <= 0:
                self._start(416, {"Content-Range": f"bytes */{content.size}"}, 0)
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{content.size}"
            self._entry["range"] = [start, start + length - 1]
        self._start(status, headers, length)
        if self.command == "HEAD":
            return
        if fault and fault.fault == "lie" and self.headers.get("User-Agent", "").startswith("Go-http-client"):
            fault = None
        for piece in _spoil(content.pieces(start, length), fault):
            if piece is None:
                # An end in the middle of a body, as a broken line makes it.
                self.close_connection = True
                return
            self._write(piece)

    def _fail(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}, separators=(",", ":")).encode()
        self._start(status, {"Content-Type": "application/json", **(headers or {})}, len(body))
        if self.command != "HEAD":
            self._write(body)

    def _start(self, status: int, headers: dict[str, str], length: int) -> None:
        if self._entry:
            self._entry["status"] = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self._left = 0 if self.command == "HEAD" else length
        self._record_before_the_end()
        self.end_headers()

    def _write(self, piece: bytes) -> None:
        """Send a piece of the body and count it. The last one is counted beforehand, for the log."""
        self._left -= len(piece)
        is_last = self._left <= 0
        if is_last:
            self._count(len(piece))
            self._record_before_the_end()
        try:
            self.wfile.write(piece)
        except OSError:
            if is_last:
                self._count(-len(piece))
            raise
        if not is_last:
            self._count(len(piece))

    def _count(self, size: int) -> None:
        if self._entry:
            self._entry["bytes"] += size

    def _record_before_the_end(self) -> None:
        if self._entry and self._left <= 0:
            self.server.registry.record(self._entry)

    # --- the tests' side -------------------------------------------------------------------------

    def _control(self, name: str) -> None:
        registry = self.server.registry
        self._entry = {}
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if name == "faults" and self.command == "POST":
                registry.faults.add(json.loads(body))
            elif name == "faults" and self.command == "DELETE":
                registry.faults.clear()
            elif name == "requests" and self.command == "DELETE":
                registry.requests.clear()
            elif name == "login" and self.command == "POST":
                registry.login.set(**json.loads(body))
            elif name == "tags" and self.command == "POST":
                registry.store.move(**json.loads(body))
            elif name not in ("faults", "requests", "serving", "models") or self.command != "GET":
                self._fail(
                    404,
                    "NOT_FOUND",
                    "control has faults (GET, POST, DELETE), requests (GET, DELETE), tags and login (POST), serving "
                    "(GET) and models (GET)",
                )
                return
        except (TypeError, ValueError) as error:
            self._fail(400, "BAD_FAULT", str(error))
            return
        answer = {
            "faults": registry.faults.rules,
            "requests": lambda: list(registry.requests),
            "serving": lambda: list(registry.serving),
            "models": registry.store.models,
            "tags": registry.store.models,
            "login": list,
        }[name]()
        text = json.dumps(answer).encode()
        self._start(200, {"Content-Type": "application/json"}, len(text))
        self.wfile.write(text)


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """(start, length) of a range; a length of 0 or less is not satisfiable."""
    if not first:
        length = min(int(last), size)
        return size - length, length
    end = min(int(last), size - 1) if last else size - 1
    return int(first), end + 1 - int(first)


def _spoil(pieces, fault: Fault | None):
    """The pieces as the fault changes them; None = cut here."""
    kind = fault.fault if fault else ""
    sent = 0
    for piece in pieces:
        if kind == "lie":  # in one piece: the beginning of a file is
            piece = bytes(piece).replace(bytes.fromhex(fault.old), bytes.fromhex(fault.new))
        if kind == "corrupt" and not sent:
            piece = bytes([piece[0] ^ 0xFF]) + bytes(piece[1:])
        if kind == "cut" and sent + len(piece) > fault.after:
            yield piece[: fault.after - sent]
            yield None
            return
        if kind == "slow" and fault.rate:
            # Ten portions a second: what arrives is a trickle and not one late block.
            portion = max(1, fault.rate // 10)
            for offset in range(0, len(piece), portion):
                yield piece[offset : offset + portion]
                time.sleep(0.1)
        else:
            yield piece
        sent += len(piece)
