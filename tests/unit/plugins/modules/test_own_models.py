# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models of the user's own files: read with model_info, brought by instance_models, against the rig's doubles."""

from __future__ import annotations

import hashlib
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.own_blob import name_it
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.own_file import OwnFile
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import content_in
from ansible_collections.gpufleet.ollama.plugins.modules import model_file

from tests.rig.models import store as rig_models
from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.modules.test_instance_models import actions, entry, run
from tests.unit.rig.adapter_files import write_adapter


@pytest.fixture(name="gguf", scope="module")
def _gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "tiny.gguf"
    rig_models.write_model("tiny", path)
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(gguf, **options):
    """The facts of the file."""
    return run_module("model_info", dict({"name": "mine", "source": "file", "path": str(gguf)}, **options))


def own(kind, where, facts):
    return dict(kind=kind, where=str(where), **facts["own_file"])


def wanted(rig, file, digest, number=0):
    """What the role asks for of a model of the user's own."""
    options = {"file": file, "digest": digest, "planned_digest": digest}
    return [
        entry(rig, number, "mine", **options),
        entry(rig, number, "mine:optimized", parameters={"num_ctx": 2048}, **options, **{"from": "mine"}),
        entry(rig, number, "mine:optimized", "loaded", store=str(rig.store(number))),
    ]


@pytest.fixture(name="address")
def _address(rig):
    yield "http://%s/files/tiny.gguf" % rig.host
    rig.registry.faults.clear()


def requests_for_files(rig):
    return [one for one in rig.registry.requests if one["kind"] == "file"]


def test_a_file_has_the_digest_that_it_gets_in_a_store(gguf, tmp_path):
    found = read(gguf, sha256=sha256(gguf))["model"]
    assert found["own_file"]["sha256"] == sha256(gguf) and found["digest"].startswith("sha256:")
    cached = {"hash": True, "cache_dir": str(tmp_path / "cache")}
    assert read(gguf, **cached)["model"] == read(gguf, **cached)["model"] == found
    assert read(gguf)["model"]["digest"] is None
    assert "64 hexadecimal digits" in read(gguf, sha256="x")["msg"]


def test_an_address_is_read_by_ranges(rig, gguf, address):
    rig.registry.requests.clear()
    options = {"source": "address", "address": address, "sha256": sha256(gguf), "path": None}
    found = read(gguf, **options)["model"]
    assert found["digest"] == read(gguf, sha256=sha256(gguf))["model"]["digest"]
    assert found["headers"] == read(gguf, sha256=sha256(gguf))["model"]["headers"]
    assert all("range" in one for one in requests_for_files(rig))
    rig.registry.faults.add({"target": "files/*", "fault": "404"})
    assert "answers with the status 404" in read(gguf, **options)["msg"]


@pytest.mark.parametrize("kind", ["host_file", "url"])
def test_a_file_is_brought_once_checked_and_served(rig, gguf, address, kind):
    facts = read(gguf, sha256=sha256(gguf))["model"]
    models = wanted(rig, own(kind, gguf if kind == "host_file" else address, facts), facts["digest"])
    assert actions(run(rig, models, check=True)) == ["import", "create", "load"] and rig.names() == []
    done = run(rig, models)
    assert actions(done) == ["import", "create", "load"]
    assert done["models"][0]["digest"] == facts["digest"] and done["models"][0]["pulled_bytes"] == gguf.stat().st_size
    blob = rig.store(0) / "blobs" / ("sha256-" + sha256(gguf))
    assert blob.read_bytes() == gguf.read_bytes() and rig.loaded() == ["mine:optimized"]
    rig.registry.requests.clear()
    assert actions(run(rig, models)) == ["none"] * 3 and requests_for_files(rig) == []
    # Another instance links it.
    assert actions(run(rig, wanted(rig, own("host_file", "/gone.gguf", facts), facts["digest"], 1)))[0] == "link"


def test_a_download_goes_on_where_it_ended(rig, gguf, address):
    facts = read(gguf, sha256=sha256(gguf))["model"]
    (model, *_others) = wanted(rig, own("url", address, facts), facts["digest"])
    rig.registry.requests.clear()
    rig.registry.faults.add({"target": "files/*", "fault": "cut", "after": 300_000, "times": 1})
    assert actions(run(rig, [model])) == ["import"]
    # All but what had arrived of the last portion.
    first, second = requests_for_files(rig)
    assert first["range"][0] == 0 and 300_000 - 65536 <= second["range"][0] <= 300_000
    assert second["bytes"] == gguf.stat().st_size - second["range"][0]


def test_other_bytes_are_refused_and_thrown_away(rig, gguf, address):
    facts = read(gguf, sha256=sha256(gguf))["model"]
    (model, *_others) = wanted(rig, own("url", address, facts), facts["digest"])
    rig.registry.faults.add({"target": "files/*", "fault": "corrupt", "times": 1})
    refused = run(rig, [model])
    assert refused["failed"] and "has the SHA-256" in refused["msg"] and rig.names() == []
    assert not list((rig.store(0) / "blobs").glob("*-own"))
    assert actions(run(rig, [model])) == ["import"]
    nothing = OwnFile("host_file", "/nothing.gguf", "1" * 64, 5, "llama").told()
    gone = dict(model, name="other", file=nothing, digest=None, planned_digest=None)
    assert "cannot read the model file /nothing.gguf" in run(rig, [gone])["msg"]


def test_a_file_of_the_controller_comes_in_pieces(rig, gguf, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "STORE_USER", None)
    facts = read(gguf, sha256=sha256(gguf))["model"]
    file = own("file", gguf, facts)
    (model, *_others) = wanted(rig, file, facts["digest"])
    not_sent = run(rig, [model])
    assert "has not been sent" in not_sent["msg"]
    common = {"path": str(gguf), "store": str(rig.store(0)), "sha256": file["sha256"], "size_bytes": file["size_bytes"]}
    content, offset = gguf.read_bytes(), 0
    assert run_module("model_file", common)["have_bytes"] == 0
    while offset < len(content):
        piece = tmp_path / "piece"
        piece.write_bytes(content[offset : offset + 300_000])
        told = run_module("model_file", dict(common, piece=str(piece), offset=offset))
        offset = told["have_bytes"]
    assert told["changed"] and run_module("model_file", common)["have_bytes"] == len(content)
    assert actions(run(rig, [model])) == ["import"]
    wrong = run_module("model_file", dict(common, piece=str(piece), offset=5, sha256="2" * 64))
    assert wrong["failed"] and "has 0 bytes and not 5" in wrong["msg"]


@pytest.fixture(name="lora", scope="module")
def _lora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    return [pathlib.Path(write_adapter(folder / ("%d.gguf" % rank), "tiny", rank, ("attn_q",))) for rank in (8, 16)]


def adapted(rig, path, kind="host_file", number=0, **options):
    """The optimized model with an adapter, as the role asks for it."""
    file = {"kind": kind, "where": str(path), "sha256": sha256(path), "size_bytes": path.stat().st_size}
    given = {"from": "tiny", "parameters": {"num_ctx": 2048}, "adapters": [dict(file, **options)]}
    return [entry(rig, number, "tiny"), entry(rig, number, "tiny:made", **given)]


def adapters_of(rig, number=0):
    """The digests of the adapters of the made model."""
    content = content_in(Store(str(rig.store(number))), parse("tiny:made"))
    return content["adapters"]


def test_an_adapter_is_added_once_and_replaced_by_another(rig, lora):
    run(rig, [entry(rig, 0, "tiny")])
    one, other = lora
    assert actions(run(rig, adapted(rig, one), check=True)) == ["none", "create"]
    assert actions(run(rig, adapted(rig, one))) == ["none", "create"]
    assert adapters_of(rig) == ["sha256:" + sha256(one)]
    blob = rig.store(0) / "blobs" / ("sha256-" + sha256(one))
    assert blob.read_bytes() == one.read_bytes()
    assert actions(run(rig, adapted(rig, one))) == ["none", "none"]
    assert actions(run(rig, adapted(rig, other))) == ["none", "create"]
    assert adapters_of(rig) == ["sha256:" + sha256(other)]
    without = [dict(model, adapters=None) for model in adapted(rig, one)]
    assert actions(run(rig, without)) == ["none", "create"] and adapters_of(rig) == []


def test_an_adapter_that_another_store_has_is_taken_from_there(rig, lora):
    run(rig, [entry(rig, number, "tiny") for number in range(2)])
    assert actions(run(rig, adapted(rig, lora[0]))) == ["none", "create"]
    # With other parameters, so that the model itself is not linked.
    models = adapted(rig, lora[0], "file", 1, where="/gone.gguf")
    models[1]["parameters"] = {"num_ctx": 1024}
    assert actions(run(rig, models)) == ["none", "create"]
    assert adapters_of(rig, 1) == ["sha256:" + sha256(lora[0])]


def test_an_adapter_that_cannot_be_brought_changes_nothing(rig, lora):
    run(rig, [entry(rig, 0, "tiny")])
    for options, words in (
        ({"sha256": "1" * 64}, "has the SHA-256 %s, not 111" % sha256(lora[0])),
        ({"where": "/gone.gguf"}, "cannot read the model file /gone.gguf"),
        ({"kind": "file"}, "has not been sent"),
    ):
        refused = run(rig, adapted(rig, lora[0], **options))
        assert refused["failed"] and words in refused["msg"] and rig.names() == ["tiny:latest"]
    no_store = [dict(model, store=None, link_from=None) for model in adapted(rig, lora[0])]
    assert "is brought into the store on this host; give store" in run(rig, no_store)["msg"]


def test_the_facts_of_an_adapter(rig, lora, gguf, tmp_path):
    path, cached = str(lora[0]), {"cache_dir": str(tmp_path / "cache")}
    found = read(path, adapter=True, **cached)["adapter"]
    assert found["name"] == "mine:latest" and found["sha256"] == sha256(lora[0]) and found["rank"] == 8
    assert read(path, adapter=True, sha256=found["sha256"])["adapter"] == found
    assert "not " + "2" * 64 in read(path, adapter=True, sha256="2" * 64)["msg"]
    assert "is no LoRA adapter (its general.type is" in read(str(gguf), adapter=True)["msg"]
    assert "cannot read the model file" in read("/gone.gguf", adapter=True)["msg"]
    assert "an adapter is a file" in read(path, adapter=True, source="store", store="/x")["msg"]


def test_a_store_names_only_what_it_has(tmp_path, gguf):
    facts = read(gguf, sha256=sha256(gguf))["model"]
    store = Store(str(tmp_path / "gpu0"))
    with pytest.raises(StoreError, match="does not have sha256-"):
        name_it(store, parse("mine"), OwnFile.of(own("host_file", gguf, facts)))
