# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The packages ollama and openai as clients of a gateway, over TLS and with a key."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from tests.integration.gateway_front import KEYS, Light, facts_of, running
from tests.integration.support import run
from tests.setup.environment import controller, virtual_environment

CLIENTS = ["ollama==0.6.3", "openai==3.57.0"]
SCRIPT = pathlib.Path(__file__).with_name("gateway_clients.py")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the clients got."""
    place = tmp_path_factory.mktemp("clients")
    version, python = controller()
    home = virtual_environment("clients-" + version, python, CLIENTS, constraints=None)
    pem = place / "pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=ollama-gateway", "-addext", "subjectAltName=DNS:localhost", "-keyout", pem, "-out", pem],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    light = Light("one", ["llama3:latest", "tiny:8b"])
    facts = facts_of([light])
    keys = [{"name": "anna", "key": KEYS["anna"]}]
    try:
        with running(place, facts, certificate=str(pem), keys=keys, listen_address="0.0.0.0") as front:
            url = "https://localhost:%d" % front.port
            yield json.loads(run([home / "bin" / "python", SCRIPT, url, KEYS["anna"], pem], cwd=place, timeout=120))
    finally:
        light.kill()


def test_the_package_ollama(answers):
    assert answers["with_ollama"] == {
        "chat": "one one one",
        "tools": "one one one",
        "images": True,
        "stream": ["one ", "one ", "one "],
        "generate": "one one one",
        "generate stream": ["one ", "one ", "one "],
        "embed": [[0.5, 0.25], [0.5, 0.25]],
        "list": ["llama3:latest", "tiny:8b"],
        "ps": ["llama3:latest", "tiny:8b"],
        "show": ["completion"],
        "pull": 403,
        "delete": 403,
        "nope": [404, "model 'nope' not found; served are: llama3:latest, tiny:8b"],
    }


def test_the_package_openai(answers):
    assert "model 'nope' not found; served are: llama3:latest, tiny:8b" in answers["with_openai"].pop("nope")
    assert answers["with_openai"] == {
        "chat": "one one one",
        "tools": "one one one",
        "images": "one one one",
        "stream": ["one ", "one ", "one "],
        "embed": [[0.5, 0.25], [0.5, 0.25]],
        "list": ["llama3:latest", "tiny:8b"],
        "retrieve": "tiny:8b",
        "wrong key": 401,
    }
