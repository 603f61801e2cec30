# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A second user, a directory that it can reach, and servers with a certificate."""

from __future__ import annotations

import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import as_user

from tests.unit.plugins.scripted_server import ScriptedServer


@pytest.fixture
def nobody():
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return as_user.account(as_user.NOBODY)


@pytest.fixture
def place():
    """A directory of this process that every user can enter: pytest's own belong to one user alone."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="gpufleet-stores-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """Function that gives a ScriptedServer on 127.0.0.1 with a trusted certificate."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate = str(tmp_path / "key"), str(tmp_path / "certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    servers = []

    def start(routes):
        server = ScriptedServer({})
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        server.routes.update(routes)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
