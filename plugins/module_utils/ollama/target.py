# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One instance of Ollama as the module `model` sees it: its server where that runs, its store on this host otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..common.names import InvalidName, normalise_digest, parse
from . import modelfile
from .client import OllamaError, OllamaUnreachable


class ModelError(Exception):
    """The wanted state cannot be had. The text is one sentence."""


@dataclass
class Outcome:
    """What was done, or would be in check mode. pulled_bytes: None where it cannot be known; before, after: for the diff; loaded: the entry of /api/ps."""

    action: str = "none"
    digest: str = None
    pulled_bytes: int = 0
    before: object = None
    after: object = None
    loaded: dict = None
    warnings: list = field(default_factory=list)

    @property
    def changed(self):
        return self.action != "none"


class Target(object):
    """client: OllamaClient; store: Store or None. The server is asked once for its list; `forget` drops it after a change."""

    def __init__(self, client, store=None):
        self.client = client
        self.store = store
        self._models = None
        self.unreachable = None  # the OllamaUnreachable, once it is known that there is no server
        self._asked = False

    def reachable(self):
        """Whether the server answers. An answer that is an error is raised: then something else is wrong than a stopped service."""
        if not self._asked:
            try:
                self._models = self.client.tags()
                self.unreachable = None
            except OllamaUnreachable as error:
                self._models = []
                self.unreachable = error
            self._asked = True
        return self.unreachable is None

    def forget(self):
        """Ask again next time: something was changed."""
        self._asked = False

    def digest(self, name):
        """Manifest digest of the model `name` (names.Name), or None where it is not there. Complete models only, in a store."""
        if self.reachable():
            entry = find(self._models, name)
            return normalise_digest(entry.get("digest")) if entry else None
        manifest = self.store.complete(name) if self.store else None
        return manifest.digest if manifest else None

    def content(self, name):
        """Content (modelfile.py) of the model `name`, or None where it is not there."""
        if self.digest(name) is None:
            return None
        if not self.reachable():
            return content_in(self.store, name)
        try:
            return modelfile.content_of_show(self.client.show(str(name)))
        except OllamaError as error:
            if error.status == 404:
                return None
            raise

    def loaded(self, name):
        """Entry of /api/ps of the model `name`, or None."""
        return find(self.client.ps(), name)


def find(entries, name):
    """The entry of /api/tags or /api/ps for `name` (names.Name), which Ollama matches without regard to case; None where there is none."""
    for entry in entries:
        try:
            if parse(entry.get("name") or entry.get("model") or "").same(name):
                return entry
        except InvalidName:
            continue
    return None


def content_in(store, name):
    """Content of the model `name` in a store on this host, or None where it is not all there."""
    manifest = store.complete(name)
    return modelfile.content_of_manifest(manifest, store.small_blob) if manifest else None
