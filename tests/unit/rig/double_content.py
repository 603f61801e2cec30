# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Content of the test servers: `tiny` as in the recordings, and a second model of six blocks."""

from __future__ import annotations

import hashlib
import json
import pathlib

from tests.rig.models import catalog
from tests.rig.models import store as rig_models

RECORDINGS = pathlib.Path(__file__).parents[2] / "fixtures" / "recordings"
TEXTS = (
    ("template", b"{{ .System }} {{ .Prompt }}"),
    ("system", b"You are tiny."),
    ("license", b"MIT-like text"),
    ("params", json.dumps({"stop": ["</s>", "<|end|>"], "temperature": 0.1}).encode()),
)


def recorded(name: str) -> list[dict]:
    """The entries of a recording."""
    return json.loads((RECORDINGS / name).read_text())


def tiny() -> bytes:
    """The GGUF file of `tiny`: 8 blocks, width 64, vocabulary 269, as in the recordings."""
    return b"".join(catalog.dense_data("tiny:latest"))


def tiny2() -> bytes:
    """The same with 6 blocks."""
    catalog.MODELS["tiny2:latest"] = dict(catalog.MODELS["tiny:latest"], blocks=6)
    try:
        return b"".join(catalog.dense_data("tiny2:latest"))
    finally:
        del catalog.MODELS["tiny2:latest"]


def put(directory: pathlib.Path, data: bytes) -> dict:
    """Write a blob and return {digest, size}."""
    digest = hashlib.sha256(data).hexdigest()
    (directory / "blobs").mkdir(parents=True, exist_ok=True)
    (directory / "blobs" / ("sha256-" + digest)).write_bytes(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def registry_directory(directory: pathlib.Path) -> pathlib.Path:
    """library/tiny with the recorded texts as `latest`, and the second model without texts as `v2`."""
    config = {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "0.1M",
        "file_type": "F16",
        "architecture": "amd64",
        "os": "linux",
    }
    for tag, model, texts in (("latest", tiny(), TEXTS), ("v2", tiny2(), ())):
        layers = [
            dict(put(directory, data), mediaType=rig_models.LAYER_TYPE + kind)
            for kind, data in (("model", model),) + texts
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": rig_models.MANIFEST_TYPE,
            "layers": layers,
            "config": dict(put(directory, json.dumps(config).encode()), mediaType=rig_models.CONFIG_TYPE),
        }
        path = directory / "manifests" / "library" / "tiny" / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))
    return directory
