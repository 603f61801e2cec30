# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Manifest of a model in a registry or store. Pure.

The format is Docker schema 2; the media types are those of Ollama server/images.go.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ..common.names import InvalidName, normalise_digest

ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
_PREFIX = "application/vnd.ollama.image."
MODEL = _PREFIX + "model"
PROJECTOR = _PREFIX + "projector"
ADAPTER = _PREFIX + "adapter"
DRAFT = _PREFIX + "draft"  # of speculative decoding, since 0.30
PARAMETERS = _PREFIX + "params"
TEMPLATE = _PREFIX + "template"
PROMPT = _PREFIX + "prompt"  # a template in models of 2023
SYSTEM = _PREFIX + "system"
LICENSE = _PREFIX + "license"
MESSAGES = _PREFIX + "messages"
_KEYS = {key.casefold(): key for key in ("config", "digest", "from", "layers", "mediaType", "schemaVersion", "size")}
_TOO_LARGE = 2**63  # a size that Ollama cannot read
MAX_BYTES = 4 * 1024 * 1024  # a manifest has about ten layers


class ManifestError(ValueError):
    """The bytes are no manifest of a model. The text is one sentence without a subject ("is not JSON")."""


@dataclass(frozen=True)
class Layer:
    """A blob; its digest is "sha256:<hex>"."""

    media_type: str
    digest: str
    size_bytes: int


class Manifest:
    """A manifest: `raw` are its bytes, `digest` ("sha256:<hex>") is theirs; it has `layers`, and a `config` or None.

    Args:
        raw: the bytes as served or stored.

    Raises:
        ManifestError: they are no manifest.
    """

    def __init__(self, raw: bytes) -> None:
        if len(raw) > MAX_BYTES:
            raise ManifestError("is larger than %d bytes" % MAX_BYTES)
        self.raw = raw
        self.digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        try:
            content = json.loads(raw.decode("utf-8"), object_pairs_hook=_object)
        except ManifestError:
            raise
        except (ValueError, RecursionError):
            raise ManifestError("is not JSON")
        layers, config = (content.get("layers"), content.get("config")) if isinstance(content, dict) else (None, None)
        if layers is None and isinstance(config, dict) and "layers" in content:
            layers = []  # Ollama writes null for a model of its cloud, which has no files (server/create.go)
        if not isinstance(layers, list):
            raise ManifestError("has no layers")
        self.layers = [_layer(item) for item in layers]
        self.config = _layer(config) if isinstance(config, dict) and config.get("digest") else None
        if self.config and any(layer.digest == self.config.digest for layer in self.layers):
            # Ollama before 0.32.10 did not verify such a blob after the pull.
            raise ManifestError("lists one digest (%s) as its config and as a layer" % self.config.digest[:19])

    def blobs(self) -> list[Layer]:
        """Return every blob once: the layers, then the config."""
        seen: dict[str, Layer] = {}
        for layer in self.layers + ([self.config] if self.config else []):
            seen.setdefault(layer.digest, layer)
        return list(seen.values())

    def size_bytes(self) -> int:
        """Return the bytes of all layers and the config, as in /api/tags."""
        return sum(layer.size_bytes for layer in self.layers) + (self.config.size_bytes if self.config else 0)

    def with_headers(self) -> list[Layer]:
        """Return the layers whose headers say what the model needs: its files, its projector, its adapters and its
        draft model."""
        return self.of_type(MODEL) + self.projectors() + self.of_type(ADAPTER) + self.drafts()

    def projectors(self) -> list[Layer]:
        """Return the projector in a list, [] without one; of several Ollama loads the first (llm/llama_server.go,
        `appendMMProjArgs`; the same since 0.11)."""
        return self.of_type(PROJECTOR)[:1]

    def drafts(self) -> list[Layer]:
        """Return the draft model in a list, [] without one; of several Ollama loads the last (server/images.go)."""
        return self.of_type(DRAFT)[-1:]

    def of_type(self, *media_types: str) -> list[Layer]:
        """Return the layers of these media types, in the order of the manifest."""
        return [layer for layer in self.layers if layer.media_type in media_types]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of the JSON text.

    Ollama reads keys in any letters, and of several the last (Go, encoding/json): with "layers" and "Layers" it would
    load another model than the one that is read here.
    """
    for key, _value in pairs:
        known = _KEYS.get(key.casefold())
        if known not in (None, key) or known and [name for name, _value in pairs].count(key) > 1:
            raise ManifestError("has the key %s twice or in other letters" % ascii(key))
    return dict(pairs)


def _layer(item: Any) -> Layer:
    if not isinstance(item, dict):
        raise ManifestError("has a layer that is no object")
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _TOO_LARGE:
        raise ManifestError("has a layer without a size")
    try:
        return Layer(str(item.get("mediaType") or ""), normalise_digest(item.get("digest")), size)
    except InvalidName:
        raise ManifestError("has a layer with the invalid digest %r" % (item.get("digest"),))
