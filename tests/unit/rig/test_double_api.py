# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares the double with every request of ollama-0.32.15-api.json, in its order, with the registry of the rig."""

from __future__ import annotations

import re
import sys

import pytest

from tests.rig.ollama import running
from tests.rig.registry.server import Registry, serve
from tests.unit.rig import double_compare, double_content

ENTRIES = double_content.recorded("ollama-0.32.15-api.json")
# Journal lines of the start that the double does not write -> why.
START_LINES_LEFT_OUT = {
    "user overrode visible devices": "the recorder set GGML_VK_VISIBLE_DEVICES",
    "if GPUs are not correctly discovered, unset and try again": "the recorder set GGML_VK_VISIBLE_DEVICES",
    "model list cache hydration complete": "a cache that the double does not have",
    "model recommendations refresh failed": "the double does not call out here",
    "model recommendations cache sleep scheduled": "the double does not call again",
    "model show cloud cache hydration failed": "the double does not call out here",
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The rig's registry on loopback."""
    found = Registry(double_content.registry_directory(tmp_path_factory.mktemp("registry")), ["127.0.0.1"])
    servers = serve(found, ["127.0.0.1"])
    yield found, servers[0].server_address[1]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def replayed(tmp_path_factory, registry):
    """The answers of all entries: {name: (status, content type, body) or the requests to the registry}.

    The requests are sent in the order of the file.
    """
    home = tmp_path_factory.mktemp("home")
    program = running.install(tmp_path_factory.mktemp("release"))
    found_registry, port = registry
    server = running.Server(program, home, home / "models", running.gpus(home / "gpus", "rtx-4090-x2")).wait()
    unused = running.free_port()
    here = {"127.0.0.1:5001": "127.0.0.1:%d" % port, "127.0.0.1:5999": "127.0.0.1:%d" % unused}
    answers, digests = {"startup": server.log()}, {}
    for entry in ENTRIES:
        request = entry.get("request")
        if request:
            path, body = request["path"], request.get("json")
            if "body_bytes" in request:
                body = {0: b"", 5: b"{nope" if entry["name"] == "generate-bad-json" else b"hello"}[
                    request["body_bytes"]
                ]
                body = b"wrong" if entry["name"] == "blob-post-mismatch" else body
            if body and isinstance(body, dict):
                body = {key: _moved(value, here, digests) for key, value in body.items()}
            before = len(found_registry.requests)
            answers[entry["name"]] = server.request(request["method"], path, body, request.get("headers"))
            answers[entry["name"] + " registry"] = found_registry.requests[before:]
        if entry["name"] == "pull-stream":
            tiny = next(blob for blob in (home / "models" / "blobs").iterdir() if blob.stat().st_size > 600000)
            digests["sha256:cc067141468b0e6d32ea13aeb84c286627e682e86a7de8a959fc7b88d61378fb"] = tiny.name.replace(
                "-", ":"
            )
    server.stop()
    answers["replaced"] = {value: key for key, value in here.items()}
    answers["replaced"].update({str(home / "models"): "/usr/share/ollama/.ollama/models"})
    return answers


def _moved(value, here, digests):
    """The value of a request with the addresses and digests of this run."""
    if isinstance(value, dict):
        return {key: _moved(item, here, digests) for key, item in value.items()}
    if isinstance(value, str):
        for old, new in here.items():
            value = value.replace(old, new)
        return digests.get(value, value)
    return value


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "request" in entry], ids=lambda entry: entry["name"])
def test_entry(entry, replayed):
    """Status, content type and body of one recorded request."""
    status, kind, body = replayed[entry["name"]]
    want = entry["response"]
    assert (status, kind) == (want["status"], want["content_type"])
    assert double_compare.differences(want["body"], body, replayed["replaced"]) == []


@pytest.mark.parametrize("name", ["pull-registry-side", "pull-again-registry-side"])
def test_what_the_registry_saw(name, replayed):
    """The same requests with the same user agent, the manifest first. The double does not request compression.

    Parts are fetched in parallel with the look-up of the next blob, so the order of these two is not defined.
    """
    entry = next(entry for entry in ENTRIES if entry["name"] == name)
    pull = {"pull-registry-side": "pull-stream registry", "pull-again-registry-side": "pull-again registry"}[name]
    ours, theirs = [_seen(request) for request in replayed[pull]], [_seen(request) for request in entry["requests"]]
    assert ours[0] == theirs[0] and sorted(ours, key=str) == sorted(theirs, key=str)


def _seen(request):
    path = re.sub(r"sha256:[0-9a-f]{64}", "sha256:<hex>", request["path"])
    headers = {key: value for key, value in request["headers"].items() if key not in ("Accept-Encoding", "Range")}
    return request["method"], path, headers, request["status"], "Range" in request["headers"]


def test_start(replayed):
    """The journal at the start has the same lines: level, source, message and names of the fields, and the same
    variables in `server config`.
    """
    want = [_line(text) for text in ENTRIES[0]["server_log"] if text.startswith("time=")]
    got = [_line(text) for text in replayed["startup"] if text.startswith("time=")]
    missing = [line for line in want if line not in got and line[2] not in START_LINES_LEFT_OUT]
    assert missing == []
    names = [
        re.findall(
            r"(\w+):", re.search(r'env="map\[(.*)\]"', text).group(1).replace("://", "").split("OLLAMA_ORIGINS")[0]
        )
        for text in (ENTRIES[0]["server_log"][2], next(line for line in replayed["startup"] if "server config" in line))
    ]
    assert names[0] == names[1]


def _line(text):
    fields = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', text)
    values = dict(fields)
    message = re.sub(r"127\.0\.0\.1:\d+", "<address>", values["msg"].strip('"'))
    return values["level"], values["source"].split(":")[0], message, tuple(name for name, _value in fields)


def test_every_entry_is_compared():
    """All entries are compared."""
    compared = [entry["name"] for entry in ENTRIES if "request" in entry] + [
        "startup",
        "pull-registry-side",
        "pull-again-registry-side",
    ]
    assert sorted(compared) == sorted(entry["name"] for entry in ENTRIES)
    print("%d entries of the API recording compared" % len(compared), file=sys.stderr)
