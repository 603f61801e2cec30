# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The model store on disk: manifests/<host>/<namespace>/<model>/<tag> and blobs/sha256-<hex>, as in the real server.

Existing blobs are never hashed: a seeded blob may be a sparse file of real size.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time

from . import gotext, names, settings
from .errors import ApiError

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_GRACE = 3600  # seconds that an unreferenced blob is safe from pruning


class Manifest:
    """A manifest on the disk.

    `name`, parsed `data`, `digest` (hex) of its bytes, `modified` (seconds, nanoseconds).
    """

    def __init__(self, name, path):
        self.name = name
        with open(path, "rb") as stream:
            raw = stream.read()
            stat = os.fstat(stream.fileno())
        self.data = json.loads(raw)
        self.digest = hashlib.sha256(raw).hexdigest()
        self.modified = (int(stat.st_mtime_ns // 10**9), int(stat.st_mtime_ns % 10**9))

    @property
    def modified_text(self):
        """The time of the last change in the format of the API."""
        return gotext.timestamp(*self.modified)

    @property
    def layers(self):
        """The layers [{mediaType, digest, size}]."""
        return self.data.get("layers") or []

    @property
    def size(self):
        """Bytes of all layers and the config."""
        return sum(layer["size"] for layer in self.layers) + self.data["config"]["size"]

    def digests(self):
        """Every digest that it refers to."""
        return [layer["digest"] for layer in self.layers] + [self.data["config"]["digest"]]


class Store:
    """One models directory. It is read at every call, so that changes by another server are seen at once."""

    def __init__(self, root):
        self.root = root
        self.manifests = os.path.join(root, "manifests")
        self.blobs = os.path.join(root, "blobs")
        os.makedirs(self.blobs, exist_ok=True)

    def blob_path(self, digest):
        """Path of the blob of a digest. ApiError 400 for an invalid digest."""
        match = _DIGEST.fullmatch(digest)
        if not match:
            raise ApiError(400, "invalid digest format")
        return os.path.join(self.blobs, "sha256-" + match.group(1))

    def manifest_path(self, name):
        """Path of the manifest of a Name."""
        return os.path.join(self.manifests, *name)

    def all(self):
        """Every readable manifest."""
        found = []
        for folder, _folders, files in os.walk(self.manifests):
            for tag in files:
                parts = os.path.relpath(os.path.join(folder, tag), self.manifests).split(os.sep)
                try:
                    found.append(Manifest(names.parse("%s/%s/%s:%s" % tuple(parts)), os.path.join(folder, tag)))
                except (ApiError, TypeError, OSError, ValueError):
                    continue
        return found

    def existing(self, name):
        """The Name of an existing model, compared without case; `name` itself if there is none."""
        if os.path.exists(self.manifest_path(name)):
            return name
        wanted = name.full.lower()
        return next((other.name for other in self.all() if other.name.full.lower() == wanted), name)

    def load(self, name):
        """The Manifest of a Name, or None."""
        try:
            return Manifest(self.existing(name), self.manifest_path(self.existing(name)))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def write(self, name, raw):
        """Write the bytes of a manifest, atomically."""
        path = self.manifest_path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self.root)
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
        os.chmod(partial, 0o644)
        os.replace(partial, path)

    def put(self, data):
        """Store these bytes as a blob: (digest, True if it is new)."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        path = self.blob_path(digest)
        if os.path.exists(path):
            return digest, False
        handle, partial = tempfile.mkstemp(dir=self.blobs, prefix="sha256-")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
        return digest, True

    def touch(self, digest):
        """Set the times of a blob that a new model uses, as manifest/layer.go does since 0.21: only its owner may."""
        path = self.blob_path(digest)
        now = time.time()
        try:
            os.utime(path, (now, now))
        except PermissionError:
            raise ApiError(500, "chtimes %s: operation not permitted" % path) from None

    def read(self, digest):
        """The bytes of a small blob."""
        with open(self.blob_path(digest), "rb") as stream:
            return stream.read()

    def copy(self, source, target):
        """Give a model a second name: only the manifest is copied."""
        os.makedirs(os.path.dirname(self.manifest_path(target)), exist_ok=True)
        shutil.copyfile(self.manifest_path(source), self.manifest_path(target))

    def delete(self, manifest):
        """Delete a model, and its blobs that no other manifest needs."""
        path = self.manifest_path(manifest.name)
        os.unlink(path)
        self._remove_empty(os.path.dirname(path))
        self.drop_unused(manifest.digests())

    def drop_unused(self, digests):
        """Delete those of `digests` that no manifest needs. Returns their number."""
        used = {digest for other in self.all() for digest in other.digests()}
        removed = 0
        for digest in set(digests) - used:
            try:
                os.unlink(self.blob_path(digest))
                removed += 1
            except FileNotFoundError:
                pass
        return removed

    def _remove_empty(self, folder):
        while folder != self.manifests and folder.startswith(self.manifests):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def prune(self):
        """Delete unreferenced blobs and `-partial` files older than an hour, as a starting server does."""
        if settings.boolean("OLLAMA_NOPRUNE"):
            return
        used = {digest.replace(":", "-") for manifest in self.all() for digest in manifest.digests()}
        old = time.time() - _GRACE
        unused = []
        for entry in os.scandir(self.blobs):
            if entry.name not in used and entry.stat().st_mtime < old:
                unused.append(entry)
        gotext.log(
            "INFO", "images.go:919", "total blobs: %d" % sum(1 for entry in unused if _DIGEST.fullmatch(entry.name))
        )
        for entry in unused:
            os.unlink(entry.path)
        gotext.log(
            "INFO",
            "images.go:926",
            "total unused blobs removed: %d" % sum(1 for entry in unused if _DIGEST.fullmatch(entry.name)),
        )
        for folder, _folders, _files in os.walk(self.manifests, topdown=False):
            self._remove_empty(folder)
