# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The models of the rig: sizes compared with the recorded engine rows, files and store."""

from __future__ import annotations

import hashlib
import json
import pathlib

import pytest

from tests.rig.engine import header, sizes
from tests.rig.models import catalog, gguf, store

RECORDED = pathlib.Path(__file__).parents[2] / "fixtures" / "recordings" / "engine-rows-server.json"
ROWS = json.loads(RECORDED.read_text())["rows"]
MIB = 1024 * 1024


def test_the_rig_has_the_recorded_rows_unchanged():
    assert (pathlib.Path(sizes.__file__).parent / "engine-rows.json").read_bytes() == RECORDED.read_bytes()


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    result = {}
    for name in store.names():
        path = directory / name.replace(":", "-")
        store.write_model(name, path)
        result[name] = header.read_header(str(path))
    return result


@pytest.mark.parametrize("name", [name for name in store.names() if store.is_sparse(name)])
@pytest.mark.parametrize("devices", [1, 2, 3, 4])
def test_weights_per_device_are_those_of_the_engine_rows(headers, name, devices):
    rows = [
        row
        for row in ROWS
        if row["model"] == catalog.MODELS[name]["engine_rows"] and row["tensor_split"] == [1] * devices
    ]
    layers, output, embedding = headers[name].layer_bytes()
    held = [0] * devices
    for size, place in zip(layers + [output], sizes.assign(len(layers) + 1, [1] * devices)):
        held[place] += size
    assert rows
    for row in rows:
        assert [size // MIB for size in held] == [row["mib"]["RPC%d" % d][0] for d in range(devices)]
        assert embedding // MIB == row["mib"]["Host"][0]


def test_llama4_has_its_size_and_its_projector(headers):
    llama4 = headers["llama4:16x17b"]
    assert llama4.file_bytes == 67_107_066_464
    assert len(llama4.tensors) == 1182
    assert llama4.blocks == 48
    assert 1.6 < llama4.projector_bytes() / 1024**3 < 1.7
    assert llama4.pairs["llama4.attention.chunk_size"] == 8192
    assert llama4.pairs["llama4.expert_count"] == 16
    assert llama4.vocabulary == 202048
    assert len(catalog.header_of("llama4:16x17b")[0]) <= 16 * MIB


def test_header_and_tensors_fill_their_file(headers):
    for name, one in headers.items():
        head, size = catalog.header_of(name)
        assert len(head) % gguf.ALIGNMENT == 0
        assert len(head) + sum(gguf.aligned(tensor[3]) for tensor in one.tensors) == size == one.file_bytes


def test_sparse_files_take_only_their_header(tmp_path):
    store.write_model("llama4:16x17b", tmp_path / "m")
    status = (tmp_path / "m").stat()
    assert status.st_size == 67_107_066_464
    assert status.st_blocks * 512 < 20 * MIB


def test_a_store_holds_what_the_manifest_names(tmp_path):
    path = store.write_into_store("tiny", tmp_path)
    assert path == tmp_path / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
    manifest = json.loads(path.read_bytes())
    for entry in [manifest["config"]] + manifest["layers"]:
        blob = tmp_path / "blobs" / entry["digest"].replace(":", "-")
        assert blob.stat().st_size == entry["size"]
        assert "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest() == entry["digest"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == store.manifest_digest("tiny")


def test_small_models_have_the_size_they_are_meant_to_have(headers):
    assert headers["tiny:latest"].file_bytes < 1_000_000
    assert 100_000_000 < headers["small:latest"].file_bytes < 200_000_000


def test_dense_data_is_the_same_every_time():
    first, second = (hashlib.sha256(b"".join(catalog.dense_data("tiny"))).hexdigest() for _time in range(2))
    assert first == second


def test_an_unknown_model_is_named():
    with pytest.raises(KeyError, match="the rig has no model nope:latest"):
        catalog.full_name("nope")


def test_the_gguf_package_reads_the_tiny_model(tmp_path):
    reader_module = pytest.importorskip("gguf")
    store.write_model("tiny", tmp_path / "tiny.gguf")
    reader = reader_module.GGUFReader(str(tmp_path / "tiny.gguf"))
    assert len(reader.tensors) == 75
    assert abs(float(abs(reader.tensors[0].data).max())) < 0.1
    assert reader.fields["llama.block_count"].contents() == 8
