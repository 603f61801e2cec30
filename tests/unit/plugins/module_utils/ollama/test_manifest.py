# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Manifests of models."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import manifest as media
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.manifest import Manifest, ManifestError


def test_a_giant_manifest_is_not_believed():
    with pytest.raises(ManifestError, match="larger than"):
        Manifest(b" " * 5000000)


def manifest(**changes):
    """A manifest with a model, a template and a config."""
    layers = [
        {"mediaType": media.MODEL, "digest": "sha256:" + "a" * 64, "size": 100},
        {"mediaType": media.TEMPLATE, "digest": "b" * 64, "size": 10},
        {"mediaType": media.TEMPLATE, "digest": "b" * 64, "size": 10},
    ]
    config = {"mediaType": "application/json", "digest": "sha256:" + "c" * 64, "size": 1}
    return json.dumps(dict({"layers": layers, "config": config}, **changes)).encode()


def test_a_manifest_is_read():
    read = Manifest(manifest())
    assert read.digest == "sha256:" + hashlib.sha256(manifest()).hexdigest()
    assert [layer.size_bytes for layer in read.of_type(media.MODEL)] == [100]
    assert [layer.digest[:8] for layer in read.blobs()] == ["sha256:a", "sha256:b", "sha256:c"]
    assert read.size_bytes() == 121


def test_a_model_without_files_is_one_of_another_server():
    """Ollama 0.32.15 writes null for it (POST /api/create with remote_host)."""
    read = Manifest(manifest(layers=None))
    assert read.layers == [] and [layer.digest[:8] for layer in read.blobs()] == ["sha256:c"]


@pytest.mark.parametrize(
    "raw, words",
    [
        (b"no", "is not JSON"),
        (b"[]", "has no layers"),
        (b'{"layers": null}', "has no layers"),
        (b'{"config": {}}', "has no layers"),
        (manifest(layers=[7]), "has a layer that is no object"),
        (manifest(layers=[{"digest": "a" * 64}]), "has a layer without a size"),
        (manifest(layers=[{"digest": "a" * 64, "size": -1}]), "has a layer without a size"),
        (manifest(config={"digest": "A" * 64, "size": 1}), "lists one digest .* as its config and as a layer"),
        (manifest(layers=[{"digest": "../x", "size": 1}]), "has a layer with the invalid digest"),
    ],
)
def test_a_damaged_manifest_is_refused(raw, words):
    with pytest.raises(ManifestError, match=words):
        Manifest(raw)


OTHER = {"mediaType": media.MODEL, "digest": "sha256:" + "d" * 64, "size": 5}


@pytest.mark.parametrize(
    "raw",
    [
        manifest(Layers=[OTHER]),
        manifest(**{"layer\u017f": [OTHER]}),
        manifest(Config=OTHER),
        manifest(layers=[dict(OTHER, Digest="sha256:" + "e" * 64)]),
        manifest(layers=[{"MediaType": media.MODEL, "digest": "sha256:" + "d" * 64, "size": 5}]),
        manifest()[:-1] + b', "layers": []}',
    ],
)
def test_a_manifest_that_ollama_would_read_in_another_way_is_refused(raw):
    with pytest.raises(ManifestError, match="twice or in other letters"):
        Manifest(raw)


def test_a_manifest_that_nests_without_an_end_is_no_json():
    with pytest.raises(ManifestError, match="is not JSON"):
        Manifest(b"[" * 200000)


def test_a_size_that_ollama_cannot_read_is_none():
    with pytest.raises(ManifestError, match="has a layer without a size"):
        Manifest(manifest(layers=[dict(OTHER, size=2**63)]))
