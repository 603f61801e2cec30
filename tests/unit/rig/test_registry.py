# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The registry answers like the recorded one, applies faults, and logs what it served."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import pathlib
import time

import pytest

from tests.rig.registry.faults import FAULTS
from tests.rig.registry.server import Registry, serve
from tests.rig.waiting import PATIENCE

RECORDINGS = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "recordings" / "ollama-0.32.15-api.json"
BIG = 67_107_066_464
BIG_DIGEST = "sha256:" + "b" * 64


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture(name="tree", scope="module")
def _tree(tmp_path_factory):
    """A store with a tiny model, a 67 GB sparse one, and a release."""
    root = tmp_path_factory.mktemp("registry")
    tiny, config = bytes(range(256)) * 2634, b'{"model_format":"gguf"}'
    (root / "blobs").mkdir()
    for data in (tiny, config):
        (root / "blobs" / _digest(data).replace(":", "-")).write_bytes(data)
    with (root / "blobs" / BIG_DIGEST.replace(":", "-")).open("wb") as stream:
        stream.write(b"GGUF header")
        stream.seek(40 << 30)
        stream.write(b"island")
        stream.truncate(BIG)
    for name, digest, size in (("tiny/latest", _digest(tiny), len(tiny)), ("llama4/16x17b", BIG_DIGEST, BIG)):
        path = root / "manifests" / "library" / name
        path.parent.mkdir(parents=True)
        path.write_text(
            json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "config": {
                        "mediaType": "application/vnd.docker.container.image.v1+json",
                        "digest": _digest(config),
                        "size": len(config),
                    },
                    "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": size}],
                }
            )
        )
    release = root / "releases" / "v0.32.15"
    release.mkdir(parents=True)
    (release / "ollama-linux-amd64.tar.zst").write_bytes(b"archive" * 1000)
    return root, tiny


class Client:
    """Plain requests to the server under test; redirects are not followed."""

    def __init__(self, registry, port):
        self.registry, self.port = registry, port

    def ask(self, method, path, headers=None, body=None, host="127.0.0.1"):
        """(status, headers, body, complete)"""
        connection = http.client.HTTPConnection(host, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=headers or {}, body=body)
            answer = connection.getresponse()
            try:
                return answer.status, answer.headers, answer.read(), True
            except http.client.IncompleteRead as cut:
                return answer.status, answer.headers, cut.partial, False
        finally:
            connection.close()

    @property
    def logged(self):
        """The requests that the server has logged. That of an answer is there before the answer's end."""
        return self.registry.requests

    def fault(self, **rule):
        """Add a fault through the control interface."""
        status, _headers, body, _complete = self.ask("POST", "/control/faults", body=json.dumps(rule))
        assert status == 200, body


@pytest.fixture(name="client")
def _client(tree):
    registry = Registry(tree[0], ["127.0.0.1"])
    servers = serve(registry, ["127.0.0.1"])
    yield Client(registry, servers[0].server_address[1])
    for server in servers:
        server.shutdown()
        server.server_close()


def _recorded():
    return next(entry for entry in json.loads(RECORDINGS.read_text()) if entry["name"] == "pull-registry-side")[
        "requests"
    ]


def test_a_pull_sees_what_the_recorded_registry_answered(client, tree):
    """The recorded requests for the manifest and the first blob, with the digest of this model.

    Same status, same range, all logged.
    """
    size, digest = len(tree[1]), _digest(tree[1])
    assert size == 674_304
    for place, recorded in enumerate(_recorded()[:4]):
        path = recorded["path"].rpartition("sha256:")[0] + digest if "sha256:" in recorded["path"] else recorded["path"]
        headers = dict(recorded["headers"])
        status, _headers, _body, _complete = client.ask(recorded["method"], path, headers)
        assert status == recorded["status"]
        entry = client.logged[place]
        if "range" in recorded:
            assert entry["range"] == recorded["range"]
    assert [(entry["method"], entry["status"]) for entry in client.logged] == [
        (recorded["method"], recorded["status"]) for recorded in _recorded()[:4]
    ]
    assert all(
        recorded["headers"].items() <= entry["headers"].items() for recorded, entry in zip(_recorded(), client.logged)
    )


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_login_is_needed_where_models_are_named_and_not_behind_the_redirect(client, tree, kind):
    manifest, blob = "/v2/library/tiny/manifests/latest", "/v2/library/tiny/blobs/" + _digest(tree[1])
    basic = {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}
    assert client.ask("POST", "/control/login", body=json.dumps({"user": "a:b", "kind": kind}))[0] == 200
    status, headers, _body, _complete = client.ask("GET", manifest)
    asked = headers["WWW-Authenticate"]
    assert status == 401 and asked.startswith(kind.capitalize())
    right = basic
    if kind == "bearer":
        assert client.ask("GET", manifest, basic)[0] == 401
        path = "/token?service=rig&scope=repository:library/tiny:pull"
        assert client.ask("GET", path)[0] == 401 and ":%d/token" % client.port in asked
        right = {"Authorization": "Bearer " + json.loads(client.ask("GET", path, basic)[2])["token"]}
        assert client.ask("GET", "/v2/library/llama4/manifests/16x17b", right)[0] == 401, "a token is for one model"
    assert client.ask("GET", manifest, right)[0] == 200
    status, headers, _body, _complete = client.ask("GET", blob, right)
    assert status == 307 and client.ask("GET", "/v2/cdn/" + blob[4:])[0] == 200
    assert client.ask("HEAD", blob, {"Authorization": "Basic x"})[0] == 401
    assert [one["authorization"] for one in client.logged if one["kind"] == "head"] == ["Basic"]
    assert client.ask("POST", "/control/login", body=b"{}")[0] == 200 and client.ask("GET", manifest)[0] == 200
    for body in ({"user": "a"}, {"user": "a:b", "kind": "digest"}):
        assert client.ask("POST", "/control/login", body=json.dumps(body))[0] == 400


def test_the_redirect_leads_to_another_host_name_that_serves_the_blob(client, tree):
    """With the same name, the real client follows the redirect itself and then finds no Location."""
    path = "/v2/library/tiny/blobs/" + _digest(tree[1])
    status, headers, body, _complete = client.ask("GET", path)
    assert (status, body) == (307, b"")
    assert headers["Location"] == f"http://localhost:{client.port}/v2/cdn/library/tiny/blobs/{_digest(tree[1])}"
    status, _headers, body, _complete = client.ask("GET", headers["Location"].partition(str(client.port))[2])
    assert (status, body) == (200, tree[1])


def test_head_of_a_blob_tells_its_size(client):
    """The client takes the total size from it."""
    status, headers, body, _complete = client.ask("HEAD", "/v2/library/llama4/blobs/" + BIG_DIGEST)
    assert (status, headers["Content-Length"], body) == (200, str(BIG), b"")


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "body"),
    [
        ("bytes=0-10", 206, f"bytes 0-10/{BIG}", b"GGUF header"),
        ("bytes=5-13", 206, f"bytes 5-13/{BIG}", b"header\0\0\0"),
        (
            f"bytes={(40 << 30) - 2}-{(40 << 30) + 7}",
            206,
            f"bytes {(40 << 30) - 2}-{(40 << 30) + 7}/{BIG}",
            b"\0\0island\0\0",
        ),
        (f"bytes={BIG - 3}-", 206, f"bytes {BIG - 3}-{BIG - 1}/{BIG}", b"\0\0\0"),
        ("bytes=-4", 206, f"bytes {BIG - 4}-{BIG - 1}/{BIG}", b"\0\0\0\0"),
        (f"bytes={BIG}-", 416, f"bytes */{BIG}", b""),
    ],
)
def test_ranges_of_a_sparse_blob(client, asked, status, content_range, body):
    """Data and holes, at the ends as well."""
    answer = client.ask("GET", "/v2/cdn/library/llama4/blobs/" + BIG_DIGEST, {"Range": asked})
    assert (answer[0], answer[1]["Content-Range"], answer[2]) == (status, content_range, body)


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("GET", "library/tiny/manifests/latest", None),
        ("GET", "library/tiny/manifests/absent", None),
        ("GET", "library/tiny/blobs/{}", None),
        ("HEAD", "library/tiny/blobs/{}", None),
        ("GET", "cdn/library/tiny/blobs/{}", None),
        ("GET", "cdn/library/tiny/blobs/{}", "cut"),
    ],
)
def test_a_client_that_has_its_answer_is_in_the_log(client, tree, monkeypatch, method, path, fault):
    """Also where the server is slow to write the log, as on a busy machine."""
    record = client.registry.record
    monkeypatch.setattr(client.registry, "record", lambda entry: (time.sleep(0.2), record(entry)))
    if fault:
        client.fault(target="library/*", fault=fault, after=5000)
    client.ask(method, "/v2/" + path.format(_digest(tree[1])))
    assert [entry["method"] for entry in client.logged] == [method] and client.registry.serving == []


def test_the_log_counts_the_bytes_served_by_model(client):
    """Other tests use it for 'at most 16 MiB of header per model, read once'."""
    client.ask("GET", "/v2/cdn/library/llama4/blobs/" + BIG_DIGEST, {"Range": f"bytes=0-{(4 << 20) - 1}"})
    client.ask("GET", "/v2/library/llama4/manifests/16x17b")
    manifest = client.logged[1]
    assert [(entry["kind"], entry["target"]) for entry in client.logged] == [
        ("data", "library/llama4"),
        ("manifest", "library/llama4"),
    ]
    assert client.logged[0]["bytes"] == 4 << 20 and 300 < manifest["bytes"] < 600
    assert json.loads(client.ask("GET", "/control/requests")[2])[0]["bytes"] == 4 << 20
    client.ask("DELETE", "/control/requests")
    assert client.logged == []


def test_releases_and_their_checksums(client, tree):
    """sha256sum.txt has the format of the release job: './name'."""
    archive = (tree[0] / "releases/v0.32.15/ollama-linux-amd64.tar.zst").read_bytes()
    assert client.ask("GET", "/releases/v0.32.15/ollama-linux-amd64.tar.zst")[2] == archive
    sums = client.ask("GET", "/releases/v0.32.15/sha256sum.txt")[2].decode()
    assert sums == f"{hashlib.sha256(archive).hexdigest()}  ./ollama-linux-amd64.tar.zst\n"
    assert client.ask("GET", "/releases/v0.1.0/sha256sum.txt")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v2/library/nope/manifests/latest",
        "/v2/library/tiny/manifests/nosuch",
        "/v2/../blobs/manifests/x",
        "/v2/library/../manifests/library",
        "/v2/library/tiny/blobs/sha256:" + "0" * 64,
        "/v2/library/tiny/blobs/x",
        "/releases/../blobs",
        "/releases/../sha256sum.txt",
        "/",
        "/control/x",
    ],
)
def test_what_is_not_there_is_404_with_a_registry_error(client, path):
    """Also for names that lead out of the directory."""
    status, _headers, body, _complete = client.ask("GET", path)
    assert status == 404 and json.loads(body)["errors"][0]["code"]


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("500", 500, b'{"errors":[{"code":"INTERNAL","message":"boom"}]}'),
        ("401", 401, b'{"errors":[{"code":"UNAUTHORIZED","message":"boom"}]}'),
        ("404", 404, b'{"errors":[{"code":"NOT_FOUND","message":"boom"}]}'),
        ("badjson", 200, b"{not json"),
    ],
)
def test_faults_of_a_manifest_by_name(client, fault, status, body):
    """As in the recordings: library/f-500 and so on."""
    answer = client.ask("GET", f"/v2/library/f-{fault}/manifests/latest")
    assert (answer[0], answer[2]) == (status, body)
    assert client.logged[0]["fault"] == fault


@pytest.mark.parametrize(
    ("fault", "status", "location"),
    [("direct200", 200, False), ("loc302", 302, True), ("loc200", 200, True), ("blob404", 404, False)],
)
def test_faults_of_a_blob_by_name(client, fault, status, location):
    """A model named after a fault has a blob of its own, correct except for the fault."""
    manifest = json.loads(client.ask("GET", f"/v2/library/f-{fault}/manifests/latest")[2])
    layer = manifest["layers"][0]
    answer = client.ask("GET", f"/v2/library/f-{fault}/blobs/{layer['digest']}")
    assert (answer[0], "Location" in answer[1]) == (status, location)
    if fault == "direct200":
        assert _digest(answer[2]) == layer["digest"] and len(answer[2]) == layer["size"]


def test_every_fault_has_a_model_of_its_name(client):
    """No two share a blob: the pull of one must not find the blob of another."""
    digests = {client.registry.store.manifest(f"library/f-{fault}", "latest") for fault in FAULTS}
    assert len(digests) == len(FAULTS)
    assert client.registry.store.manifest("library/f-nonsense", "latest") is None


def test_a_corrupt_blob_has_the_size_but_not_the_digest(client, tree):
    """Only the content differs."""
    client.fault(target="library/tiny", fault="corrupt")
    body = client.ask("GET", "/v2/cdn/library/tiny/blobs/" + _digest(tree[1]))[2]
    assert len(body) == len(tree[1]) and body != tree[1] and body[1:] == tree[1][1:]


def test_a_lie_is_for_readers_and_not_for_a_pull(client, tree):
    path = "/v2/cdn/library/tiny/blobs/" + _digest(tree[1])
    client.fault(target="library/tiny", fault="lie", old=bytes(range(4)).hex(), new=b"LIES".hex())
    body = client.ask("GET", path, {"Range": "bytes=0-9"})[2]
    assert body == b"LIES" + bytes(range(4, 10))
    pull = {"Range": "bytes=0-9", "User-Agent": "Go-http-client/1.1"}
    assert client.ask("GET", path, pull)[2] == bytes(range(10))


def test_a_cut_once_ends_the_body_early_and_the_next_request_is_whole(client, tree):
    """The second request fetches the rest, as a client that resumes."""
    path = "/v2/cdn/library/tiny/blobs/" + _digest(tree[1])
    client.fault(target="library/*", fault="cut", after=5000, times=1)
    _status, _headers, first, complete = client.ask("GET", path)
    assert not complete and first == tree[1][:5000]
    status, _headers, rest, complete = client.ask("GET", path, {"Range": "bytes=5000-"})
    assert status == 206 and complete and first + rest == tree[1]
    assert [entry["bytes"] for entry in client.logged] == [5000, len(tree[1]) - 5000]


def test_a_slow_answer_arrives_in_portions(client, tree):
    """0.3 s at 2.5 MB/s for 674 KB."""
    client.fault(target="library/tiny", fault="slow", rate=2_500_000)
    started = time.monotonic()
    body = client.ask("GET", "/v2/cdn/library/tiny/blobs/" + _digest(tree[1]))[2]
    assert body == tree[1] and time.monotonic() - started > 0.2


def test_faults_of_a_release_and_their_end(client):
    """A release is addressed by its path; DELETE removes the rules."""
    path = "/releases/v0.32.15/ollama-linux-amd64.tar.zst"
    client.fault(target="releases/*/*.tar.zst", fault="503")
    assert client.ask("GET", path)[0] == 503
    assert client.ask("GET", "/releases/v0.32.15/sha256sum.txt")[0] == 200
    client.ask("DELETE", "/control/faults")
    assert client.ask("GET", path)[0] == 200


@pytest.mark.parametrize(
    "rule",
    [
        {"target": "x", "fault": "nonsense"},
        {"fault": "500"},
        {"target": "x", "fault": "500", "at": "nowhere"},
        {"x": 1},
        [],
    ],
)
def test_a_wrong_fault_is_refused(client, rule):
    """With a message, and without adding a rule."""
    status, _headers, body, _complete = client.ask("POST", "/control/faults", body=json.dumps(rule))
    assert status == 400 and json.loads(body)["errors"][0]["message"]
    assert client.registry.faults.rules() == []


def test_holes_are_not_read(client, monkeypatch):
    """1 GiB of a hole is not read: the file system reports where data is."""

    def refuse(*_arguments):
        raise AssertionError("a hole was read")

    monkeypatch.setattr(os, "pread", refuse)
    content = client.registry.store.blob("library/llama4", BIG_DIGEST)
    assert sum(len(piece) for piece in content.pieces(1 << 30, 1 << 30)) == 1 << 30


def test_a_tag_that_moves_and_goes_back(client, tree):
    def manifest():
        return client.ask("GET", "/v2/library/tiny/manifests/latest")[2]

    before = manifest()
    assert client.ask(
        "POST", "/control/tags", body=json.dumps({"target": "library/tiny", "tag": "latest", "mark": "two"})
    )
    layer = json.loads(manifest())["layers"][0]
    assert manifest() != before and layer["size"] == len(tree[1])
    # A client that has the old manifest still finds its blob.
    for digest in (layer["digest"], _digest(tree[1])):
        body = client.ask("GET", "/v2/cdn/library/tiny/blobs/" + digest)[2]
        assert _digest(body) == digest
    assert client.ask("GET", "/files/tiny.gguf")[2].endswith(b"two")
    client.ask("POST", "/control/tags", body=json.dumps({"target": "library/tiny", "tag": "latest", "mark": ""}))
    assert manifest() == before
    nothing = json.dumps({"target": "library/nothing", "tag": "latest", "mark": "x"})
    assert client.ask("POST", "/control/tags", body=nothing)[0] == 400


def test_a_model_file_by_its_address(client, tree):
    assert client.ask("GET", "/files/tiny.gguf")[2] == tree[1]
    status, headers, body, unused = client.ask("GET", "/files/tiny.gguf", {"Range": "bytes=4-7"})
    assert (status, body) == (206, tree[1][4:8]) and headers["Content-Range"] == "bytes 4-7/%d" % len(tree[1])
    assert client.logged[0]["kind"] == "file"
    for path in ("/files/none.gguf", "/files/tiny", "/files/../tiny.gguf"):
        assert client.ask("GET", path)[0] == 404
    client.fault(target="files/*", fault="503")
    assert client.ask("GET", "/files/tiny.gguf")[0] == 503
