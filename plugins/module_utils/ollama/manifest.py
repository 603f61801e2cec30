# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Manifest of a model, as a registry serves it and a store keeps it (Docker schema 2, media types of Ollama server/images.go). Pure."""

from __future__ import annotations

import hashlib
import json

from ..common.names import InvalidName, normalise_digest

ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
_PREFIX = "application/vnd.ollama.image."
MODEL = _PREFIX + "model"
PROJECTOR = _PREFIX + "projector"
ADAPTER = _PREFIX + "adapter"
PARAMETERS = _PREFIX + "params"
TEMPLATE = _PREFIX + "template"
PROMPT = _PREFIX + "prompt"  # what templates were called in 2023
SYSTEM = _PREFIX + "system"
LICENSE = _PREFIX + "license"
MESSAGES = _PREFIX + "messages"
MAX_BYTES = 4 * 1024 * 1024  # a manifest has about ten layers


class ManifestError(ValueError):
    """The bytes are no manifest of a model. The text is one sentence without a subject ("is not JSON")."""


class Layer(object):
    """One blob: media_type (str), digest ("sha256:<hex>"), size_bytes (int)."""

    def __init__(self, media_type, digest, size_bytes):
        self.media_type = media_type
        self.digest = digest
        self.size_bytes = size_bytes


class Manifest(object):
    """raw: its bytes, kept because its digest is theirs; digest: "sha256:<hex>"; layers: [Layer]; config: Layer or None. Raises ManifestError."""

    def __init__(self, raw):
        if len(raw) > MAX_BYTES:
            raise ManifestError("is larger than %d bytes" % MAX_BYTES)
        self.raw = raw
        self.digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        try:
            content = json.loads(raw.decode("utf-8"))
        except (ValueError, UnicodeDecodeError):
            raise ManifestError("is not JSON")
        if not isinstance(content, dict) or not isinstance(content.get("layers"), list):
            raise ManifestError("has no layers")
        self.layers = [_layer(item) for item in content["layers"]]
        config = content.get("config")
        self.config = _layer(config) if isinstance(config, dict) and config.get("digest") else None

    def blobs(self):
        """Every blob once: the layers, then the config."""
        seen = {}
        for layer in self.layers + ([self.config] if self.config else []):
            seen.setdefault(layer.digest, layer)
        return list(seen.values())

    def size_bytes(self):
        """Bytes of all layers and the config, as /api/tags counts them."""
        return sum(layer.size_bytes for layer in self.layers) + (self.config.size_bytes if self.config else 0)

    def of_type(self, *media_types):
        """Layers of these media types, in the manifest's order."""
        return [layer for layer in self.layers if layer.media_type in media_types]


def _layer(item):
    if not isinstance(item, dict):
        raise ManifestError("has a layer that is no object")
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestError("has a layer without a size")
    try:
        return Layer(str(item.get("mediaType") or ""), normalise_digest(item.get("digest")), size)
    except InvalidName:
        raise ManifestError("has a layer with the digest %r, which is none" % (item.get("digest"),))
