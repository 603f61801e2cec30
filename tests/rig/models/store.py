# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The models of the rig in the format of Ollama's store: blobs, a manifest, and a function that writes both.

The model layer of a sparse model is never hashed: its digest is in models.json, and its file is a header followed by a
hole.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import typing

from tests.rig.models import catalog

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."
DEFAULT_REGISTRY = "registry.ollama.ai"
LICENSE = "Made up for tests: dimensions of a public model, no weights of it."


class Blob(typing.NamedTuple):
    """One blob: its digest ("sha256:..."), its size in bytes, its media type, and where its bytes come from."""

    digest: str
    size: int
    media_type: str
    data: bytes | None  # None for the model layer: write_model makes it

    @property
    def file_name(self) -> str:
        """Name below `blobs/`."""
        return self.digest.replace(":", "-")


def names() -> list[str]:
    """All models of the rig, as name:tag."""
    return list(catalog.MODELS)


def is_sparse(name: str) -> bool:
    """Whether the model has dimensions only (to be seeded, not pulled)."""
    return catalog.MODELS[catalog.full_name(name)]["sparse"]


@functools.lru_cache(maxsize=None)
def _model_digest(name: str) -> str:
    if is_sparse(name):
        return catalog.MODELS[name]["digest"]
    hashed = hashlib.sha256()
    for piece in catalog.dense_data(name):
        hashed.update(piece)
    return "sha256:" + hashed.hexdigest()


def _small(media_type: str, content: str) -> Blob:
    data = content.encode()
    return Blob("sha256:" + hashlib.sha256(data).hexdigest(), len(data), media_type, data)


@functools.lru_cache(maxsize=None)
def blobs(name: str) -> tuple[Blob, ...]:
    """(config, model, template, licence, parameters) of a model."""
    name = catalog.full_name(name)
    m = catalog.MODELS[name]
    layers = (
        Blob(_model_digest(name), catalog.header_of(name)[1], LAYER_TYPE + "model", None),
        _small(LAYER_TYPE + "template", m["template"]),
        _small(LAYER_TYPE + "license", LICENSE),
        _small(LAYER_TYPE + "params", json.dumps(m["parameters"], separators=(",", ":"))),
    )
    config = {
        "model_format": "gguf",
        "model_family": m["architecture"],
        "model_families": [m["architecture"]],
        "model_type": m["parameter_size"],
        "file_type": m["quantization"],
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]},
    }
    return (_small(CONFIG_TYPE, json.dumps(config, separators=(",", ":"))),) + layers


def manifest(name: str) -> bytes:
    """The manifest's bytes (its SHA-256 is the model's digest in /api/tags)."""
    config, *layers = blobs(name)
    entries = [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in (config, *layers)]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": entries[0], "layers": entries[1:]},
        separators=(",", ":"),
    ).encode()


def manifest_digest(name: str) -> str:
    """SHA-256 of the manifest, hexadecimal."""
    return hashlib.sha256(manifest(name)).hexdigest()


def write_model(name: str, path: str | os.PathLike) -> None:
    """Write the GGUF file, atomically. A sparse one uses only the disk space of its header (at most 16 MiB)."""
    name = catalog.full_name(name)
    temporary = pathlib.Path(f"{os.fspath(path)}.{os.getpid()}.tmp")
    with open(temporary, "wb") as stream:
        if is_sparse(name):
            head, size = catalog.header_of(name)
            stream.write(head)
            stream.truncate(size)
        else:
            stream.writelines(catalog.dense_data(name))
    os.replace(temporary, path)


def write_blob(name: str, blob: Blob, directory: str | os.PathLike) -> pathlib.Path:
    """Write one blob of `name` into `directory` as sha256-<hex>, unless it exists; return its path."""
    path = pathlib.Path(directory) / blob.file_name
    if path.exists() and path.stat().st_size == blob.size:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if blob.data is None:
        write_model(name, path)
    else:
        path.write_bytes(blob.data)
    return path


def write_into_store(
    name: str, store: str | os.PathLike, registry: str = DEFAULT_REGISTRY, namespace: str = "library"
) -> pathlib.Path:
    """Write a model into a models directory of Ollama (blobs, then the manifest); return the path of the manifest.

    To seed a host, use `tar -S -c` of such a directory, which keeps the holes.
    """
    model, tag = catalog.full_name(name).split(":")
    for blob in blobs(name):
        write_blob(name, blob, pathlib.Path(store) / "blobs")
    path = pathlib.Path(store) / "manifests" / registry / namespace / model / tag
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest(name))
    return path
