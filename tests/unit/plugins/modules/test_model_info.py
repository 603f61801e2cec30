# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""model_info against the rig's registry, its faults, and a file."""

from __future__ import annotations

import os

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts
from ansible_collections.gpufleet.ollama.plugins.modules import model_info

from tests.oracle.engine import families
from tests.rig.models import gguf
from tests.rig.models import store as rig_models
from tests.rig.registry.server import Registry, serve
from tests.unit.plugins.module_utils.model.gguf.test_source import TAGS, show_of
from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.scripted_server import serving


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """(Registry, "host:port") with a large sparse model and a small real one."""
    directory = tmp_path_factory.mktemp("registry")
    for name in ("llama4:16x17b", "tiny"):
        rig_models.write_into_store(name, directory, registry="")
    found = Registry(directory, ["127.0.0.1"])
    servers = serve(found, ["127.0.0.1"])
    yield found, "127.0.0.1:%d" % servers[0].server_address[1]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(attempts, "PAUSE", 0)


def info(rig, **args):
    args.setdefault("name", "tiny")
    return run_module("model_info", dict(args, registry=rig[1], insecure=True, timeout=60))


def test_a_model_of_67_gb_takes_at_most_16_mib(rig):
    before = len(rig[0].requests)
    result = info(rig, name="llama4:16x17b")
    assert not result["changed"] and result["bytes_read"] <= 16 * 1024 * 1024
    model = result["model"]
    assert (model["name"], model["source"], model["block_count"], model["file_bytes"]) == (
        "llama4:16x17b",
        "registry",
        48,
        67107066464,
    )
    assert model["digest"] == "sha256:" + rig_models.manifest_digest("llama4:16x17b")
    assert model["size_bytes"] == sum(blob.size for blob in rig_models.blobs("llama4:16x17b"))
    assert 1.6e9 < model["projector_bytes"] < 1.8e9 and not model["projector_separate"]
    assert model["expert_count"] == 16 and all(
        0 < layer["expert_bytes"] < layer["weight_bytes"] for layer in model["layers"]
    )
    assert (
        len(rig[0].requests) - before <= 10
    )  # manifest, configuration, parameters and header, most of them redirected


def test_with_a_cache_the_header_is_read_once(rig, tmp_path):
    first = info(rig, name="llama4:16x17b", cache_dir=str(tmp_path))
    second = info(rig, name="llama4:16x17b", cache_dir=str(tmp_path))
    assert second["model"] == first["model"] and second["bytes_read"] < 5000


@pytest.mark.parametrize(
    "name, words",
    [
        ("tiny:nosuch", "has no model tiny:nosuch; check the name and the tag"),
        ("f-500", "answered 500"),
        ("f-401", "needs a login"),
        ("f-badjson", "is not JSON"),
        ("f-blob404", "does not have the blob"),
        ("../x", "invalid namespace '..'"),
        ("a:{{7*7}}", "invalid tag"),
    ],
)
def test_each_wrong_answer_is_one_sentence(rig, name, words):
    name = name if name.startswith(("tiny", ".", "a:")) else name + ":latest"
    result = info(rig, name=name)
    assert result["failed"] and words in result["msg"]


@pytest.mark.parametrize("name", ["f-direct200", "f-loc302", "f-loc200"])
def test_every_kind_of_redirect_is_read(rig, name):
    assert info(rig, name=name)["model"]["block_count"] == 8


def test_a_cut_download_is_one_sentence_or_read_again(rig):
    rig[0].faults.add({"target": "library/tiny", "fault": "cut", "at": "data", "after": 100})
    try:
        result = info(rig)
        assert result["failed"] and "cut off" in result["msg"] or "broke in the middle" in result["msg"]
    finally:
        rig[0].faults.clear()
    assert info(rig)["model"]["block_count"] == 8


def test_nobody_there():
    result = run_module("model_info", {"name": "tiny", "registry": "127.0.0.1:1", "timeout": 2})
    assert result["failed"] and "connection refused" in result["msg"]


def test_https_against_plain_http(rig):
    result = run_module("model_info", {"name": "tiny", "registry": rig[1], "timeout": 5})
    assert result["failed"] and "set insecure: true" in result["msg"]


def test_store_and_file(tmp_path):
    rig_models.write_into_store("tiny", tmp_path)
    stored = run_module("model_info", {"name": "tiny", "source": "store", "store": str(tmp_path)})["model"]
    blob = next(blob for blob in rig_models.blobs("tiny") if blob.media_type.endswith(".model"))
    filed = run_module("model_info", {"source": "file", "path": str(tmp_path / "blobs" / blob.file_name)})["model"]
    assert stored["layers"] == filed["layers"] and stored["digest"] == "sha256:" + rig_models.manifest_digest("tiny")


@pytest.mark.parametrize(
    "args, words",
    [
        ({"source": "registry"}, "name"),
        ({"source": "store", "name": "x"}, "store"),
        ({"source": "file"}, "path"),
        ({"name": "x", "timeout": 0}, "timeout 0"),
        ({"name": "x", "source": "server", "url": "http://127.0.0.1:70000"}, "port"),
        ({"name": "x", "source": "server", "url": "http://127.0.0.1:1"}, "connection refused"),
        ({"source": "file", "path": "/nonexistent.gguf"}, "No such file"),
    ],
)
def test_missing_and_wrong_options(args, words):
    result = run_module("model_info", args)
    assert result["failed"] and words in result["msg"]


TYPES = {"str": str, "int": int, "bool": bool, "dict": dict, "list": list, "raw": (int, list)}


def held_against(documented, returned, where="model"):
    """Fail where a result and its RETURN documentation differ in keys or types."""
    assert set(returned) == set(documented), where
    for name, value in returned.items():
        entry, here = documented[name], "%s.%s" % (where, name)
        if value is None:
            continue
        assert isinstance(value, TYPES[entry["type"]]) and isinstance(value, bool) == (entry["type"] == "bool"), here
        for item in value if entry["type"] == "list" else []:
            assert isinstance(item, TYPES[entry["elements"]]), here
        if "contains" in entry:
            for item in value if isinstance(value, list) else [value]:
                held_against(entry["contains"], item, here)


@pytest.mark.parametrize("source", ["registry", "store", "file", "server"])
def test_what_is_returned_is_what_is_documented(rig, tmp_path, source):
    documented = yaml.safe_load(model_info.RETURN)
    rig_models.write_into_store("tiny", tmp_path)
    blob = next(blob for blob in rig_models.blobs("tiny") if blob.media_type.endswith(".model"))
    args = {
        "registry": {"registry": rig[1], "insecure": True},
        "store": {"store": str(tmp_path)},
        "file": {"path": str(tmp_path / "blobs" / blob.file_name)},
    }
    with serving({("GET", "/api/tags"): (200, TAGS), ("POST", "/api/show"): (200, show_of("tiny"))}) as server:
        result = run_module(
            "model_info", dict(args.get(source, {"url": server.url}), name="tiny", source=source, timeout=60)
        )
    held_against(documented["model"]["contains"], result["model"])
    assert result["model"]["source"] == source and isinstance(result["bytes_read"], int)
    assert set(documented) - {"adapter"} <= set(result)


@pytest.mark.parametrize("name", ["llama4:16x17b", "gpt-oss:20b", "jamba-mini"])
def test_what_is_documented_holds_for_experts_vision_and_recurrent_layers(tmp_path, name):
    path = tmp_path / "m.gguf"
    if ":" in name:
        rig_models.write_model(name, path)
    else:
        head, tensors = gguf.header(families.pairs_of(name), families.tensors_of(name))
        path.write_bytes(head)
        os.truncate(path, len(head) + tensors)
    result = run_module("model_info", {"source": "file", "path": str(path)})
    held_against(yaml.safe_load(model_info.RETURN)["model"]["contains"], result["model"])
