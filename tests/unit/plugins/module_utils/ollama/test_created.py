# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that are built on another one: when they are created, linked or left alone."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import created, modelfile
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.present import Pull
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Target

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient, digest_of

NAME = parse("tiny:optimized")


def request(base="tiny", **parts):
    """A request to build on `base`."""
    return dict(modelfile.empty_request(), **{"from": base}, **parts)


def put(store, name, parameters=None):
    """Write a model into a store, with one layer and these parameters."""
    layers = []
    os.makedirs(os.path.join(store.path, "blobs"), exist_ok=True)
    parts = [("model", b"the model")] + ([("params", json.dumps(parameters).encode())] if parameters else [])
    for kind, content in parts:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        with open(store.blob_path(digest), "wb") as stream:
            stream.write(content)
        kind = "application/vnd.ollama.image." + kind
        layers.append({"mediaType": kind, "digest": digest, "size": len(content)})
    path = store.manifest_path(parse(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as stream:
        json.dump({"layers": layers}, stream)


@pytest.fixture
def stores(tmp_path):
    return Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))


def test_create_and_repeat():
    client = FakeClient({"tiny": ""})
    wanted = request(parameters={"num_ctx": 2048})
    check = created.ensure_created(Target(client), NAME, wanted, Pull(), check_mode=True)
    assert check.action == "create" and "PARAMETER num_ctx 2048" in check.after and not client.called
    done = created.ensure_created(Target(client), NAME, wanted, Pull())
    assert (done.action, done.before, done.pulled_bytes, done.warnings) == ("create", "", 0, [])
    assert created.ensure_created(Target(client), NAME, wanted, Pull()).action == "none"
    changed = created.ensure_created(Target(client), NAME, request(parameters={"num_ctx": 1024}), Pull())
    assert "PARAMETER num_ctx 2048" in changed.before and "PARAMETER num_ctx 1024" in changed.after
    assert client.called == [("create", "tiny:optimized")] * 2


def test_a_model_that_came_out_differently_is_said():
    client = FakeClient({"tiny": ""})
    client.create = lambda payload: client.models.update({payload["model"]: "num_ctx 1"})
    outcome = created.ensure_created(Target(client), NAME, request(parameters={"num_ctx": 2048}), Pull())
    assert "another content than asked for" in outcome.warnings[0]


def test_a_model_is_not_built_on_itself():
    with pytest.raises(ModelError, match="cannot be built on itself"):
        created.ensure_created(Target(FakeClient()), parse("Tiny"), request("tiny:latest"), Pull())


def test_only_a_store_with_the_same_content_is_linked_from(stores):
    put(stores[0], "tiny")
    put(stores[0], "tiny:optimized", {"num_ctx": 2048})
    pull = Pull(link_from=[stores[0]])
    target = Target(FakeClient(running=False), stores[1])
    done = created.ensure_created(target, NAME, request(parameters={"num_ctx": 2048}), pull)
    assert (done.action, done.pulled_bytes) == ("link", 0) and [str(name) for name in stores[1].names()] == [str(NAME)]
    other = request(parameters={"num_ctx": 1024})
    assert created.ensure_created(target, NAME, other, pull, check_mode=True).action == "create"


def test_a_store_that_is_refused_is_said(tmp_path, stores):
    put(stores[0], "tiny:optimized", {"num_ctx": 2048})
    os.rename(stores[0].path + "/blobs", tmp_path / "moved")
    os.symlink(tmp_path / "moved", stores[0].path + "/blobs")
    target = Target(FakeClient({"tiny": ""}), stores[1])
    wanted = request(parameters={"num_ctx": 2048})
    outcome = created.ensure_created(target, NAME, wanted, Pull(link_from=[stores[0]]))
    assert outcome.action == "create" and "blobs is a symbolic link" in outcome.warnings[0]


def test_without_its_base_a_model_is_believed(stores):
    put(stores[0], "tiny:optimized", {"num_ctx": 2048, "top_k": 5})
    target = Target(FakeClient(running=False), stores[0])
    wanted = request(parameters={"num_ctx": 2048})
    assert created.ensure_created(target, NAME, wanted, Pull(), check_mode=True).action == "none"


def test_an_adapter_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelError, match="cannot read the adapter"):
        created.ensure_created(Target(FakeClient()), NAME, request(adapters=[str(tmp_path / "no")]), Pull())


def test_a_parameter_of_the_base_is_taken_away_once(stores):
    """A null in the created model stands over the base's value, in a store and in /api/show."""
    wanted = request(parameters={"main_gpu": None, "num_ctx": 2048})
    shown = "main_gpu                       <nil>\nnum_ctx                        2048"
    client = FakeClient({"tiny": "main_gpu 1", str(NAME): shown})
    assert created.ensure_created(Target(client), NAME, wanted, Pull()).action == "none"
    client = FakeClient({"tiny": "main_gpu 1", str(NAME): "main_gpu 1\nnum_ctx 2048"})
    done = created.ensure_created(Target(client), NAME, wanted, Pull(), check_mode=True)
    assert done.action == "create" and "PARAMETER main_gpu null" in done.after
    put(stores[0], "tiny", {"main_gpu": 1})
    put(stores[0], str(NAME), {"main_gpu": None, "num_ctx": 2048})
    client = FakeClient(running=False)
    assert created.ensure_created(Target(client, stores[0]), NAME, wanted, Pull()).action == "none"


@pytest.mark.parametrize(
    "release, parts, words",
    [
        ("0.11.11", {"renderer": "r"}, "Ollama 0.11.11, .* has no RENDERER; it came with 0.12.0"),
        ("0.13.5", {"parser": "p", "requires": "1.0.0"}, "has no REQUIRES; it came with 0.14.0"),
        ("0.24.0", {"draft_model": "heads"}, "has no DRAFT; it came with 0.30.0"),
        ("0.24.0", {"parameters": {"draft_num_predict": 4}}, "has no PARAMETER draft_num_predict; it came with 0.30.0"),
    ],
)
def test_what_the_server_does_not_know_is_refused(release, parts, words):
    client = FakeClient({"tiny": ""})
    client.release = release
    with pytest.raises(ModelError, match=words):
        created.ensure_created(Target(client), NAME, request(**parts), Pull(), check_mode=True)
    for newer in ("0.32.15", "0.33.0-rc2", "0.0.0", "main"):
        client.release = newer
        assert created.ensure_created(Target(client), NAME, request(**parts), Pull(), check_mode=True).changed
    assert not client.called


@pytest.mark.parametrize(
    "message, end",
    [
        ("chtimes /store/blobs/sha256-7f: operation not permitted", "; the file belongs to another user than the"),
        ("no space left on device", "no space left on device"),
    ],
)
def test_a_file_that_the_server_does_not_own_is_said(monkeypatch, message, end):
    """Ollama 0.32.15 over a store with a blob of root: 500, chtimes ...: operation not permitted."""
    client = FakeClient({"tiny": ""})

    def refuse(payload):
        raise OllamaError(500, message)

    monkeypatch.setattr(client, "create", refuse)
    with pytest.raises(ModelError) as caught:
        created.ensure_created(Target(client), NAME, request(parameters={"num_ctx": 1}), Pull())
    assert message in str(caught.value) and end in str(caught.value)
    assert ("chown" in str(caught.value)) is ("chtimes" in message)


def test_a_draft_that_ollama_would_convert_is_refused():
    with pytest.raises(ModelError, match="/d.safetensors is not a GGUF file"):
        created.ensure_created(Target(FakeClient({"tiny": ""})), NAME, request(draft="/d.safetensors"), Pull())
    with pytest.raises(ModelError, match="cannot read the draft model /nonexistent"):
        created.ensure_created(Target(FakeClient({"tiny": ""})), NAME, request(draft="/nonexistent"), Pull())


def test_a_draft_that_is_a_model_of_the_server_is_named_by_its_digest():
    """And it is not uploaded: this client could not do that."""
    client, sent = FakeClient({"tiny": "", "heads": ""}), []
    client.create = sent.append
    with pytest.raises(ModelError, match="no model none:latest, which is to be the draft model of tiny:optimized"):
        created.ensure_created(Target(client), NAME, request(draft_model="none:latest"), Pull())
    assert created.ensure_created(Target(client), NAME, request(draft_model="heads"), Pull()).action == "create"
    (payload,) = sent
    assert payload["draft_files"] == {"draft.gguf": digest_of("tiny")}


def test_a_draft_of_several_files_is_refused(stores):
    put(stores[0], "tiny")
    put(stores[0], "heads")
    projector = {"mediaType": "application/vnd.ollama.image.projector", "digest": "sha256:" + "0" * 64, "size": 1}
    with open(stores[0].blob_path(projector["digest"]), "wb") as stream:
        stream.write(b"p")
    path = stores[0].manifest_path(parse("heads"))
    with open(path) as stream:
        manifest = json.load(stream)
    manifest["layers"].append(projector)
    with open(path, "w") as stream:
        json.dump(manifest, stream)
    with pytest.raises(ModelError, match="heads:latest cannot be a draft model, because it has 2 files"):
        target = Target(FakeClient(running=False), stores[0])
        created.ensure_created(target, NAME, request(draft_model="heads"), Pull())
