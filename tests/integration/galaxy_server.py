# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A Galaxy server with one collection, the built archive: what `ansible-galaxy collection install` asks of API v3."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator


def answers(archive: pathlib.Path, namespace: str, name: str, version: str) -> dict[str, dict[str, object]]:
    """{path: answer} of the API; the archive is at /archive.tar.gz."""
    collection = "/api/v3/collections/%s/%s/" % (namespace, name)
    one = "%sversions/%s/" % (collection, version)
    artifact = {"filename": archive.name, "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    return {
        "/api/": {"available_versions": {"v3": "v3/"}},
        collection: {"href": collection, "namespace": namespace, "name": name, "highest_version": {"version": version}},
        collection + "versions/": {
            "meta": {"count": 1},
            "links": {"first": None, "previous": None, "next": None, "last": None},
            "data": [{"version": version, "href": one}],
        },
        one: {
            "version": version,
            "href": one,
            "namespace": {"name": namespace},
            "collection": {"name": name},
            "download_url": "/archive.tar.gz",
            "artifact": artifact,
            "metadata": {"dependencies": {}},
            "signatures": [],
        },
    }


@contextlib.contextmanager
def serving(archive: pathlib.Path, namespace: str, name: str, version: str) -> Iterator[str]:
    """The address of the server, for ANSIBLE_GALAXY_SERVER."""
    known = answers(archive, namespace, name, version)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            if path == "/archive.tar.gz":
                body = archive.read_bytes()
            elif path in known:
                answer = dict(known[path])
                if "download_url" in answer:
                    answer["download_url"] = "http://%s/archive.tar.gz" % self.headers["Host"]
                body = json.dumps(answer).encode()
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield "http://127.0.0.1:%d/api/" % server.server_port
    finally:
        server.shutdown()
        server.server_close()
