# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One instance of Ollama whose models are managed: its server if that runs, otherwise its store on this host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..common.names import InvalidName, Name, normalise_digest, parse
from . import model_content
from .client import OllamaClient, OllamaError, OllamaUnreachable
from .store import Store


class ModelError(Exception):
    """A model cannot be brought into the wanted state. The text is one sentence with a remedy."""


@dataclass
class Outcome:
    """What was done to a model, or would be in check mode.

    Attributes:
        action: none, link, copy, pull, import, create, alias, delete, load, reload, keep_alive or unload.
        digest: Manifest digest of the model afterwards; None where it is absent or not known.
        pulled_bytes: Bytes that came from the registry; None where that is not known.
        before: What was there, for the difference: a text, or a dictionary.
        after: What is there afterwards, in the same form.
        loaded: The loaded model as the server describes it; None where it is not loaded.
        warnings: Sentences for the user.
        header_differs: Whether the model's files have other headers than the plan was made from; None where they were
            not compared.
    """

    action: str = "none"
    digest: str | None = None
    pulled_bytes: int | None = 0
    before: Any = None
    after: Any = None
    loaded: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    header_differs: bool | None = None

    @property
    def changed(self) -> bool:
        """Whether something was done."""
        return self.action != "none"


class Target:
    """One instance. Its server is asked once for its models; `forget` drops the answer after a change.

    Args:
        client: Its server.
        store: Its models directory on this host; None where it is not known.
    """

    def __init__(self, client: OllamaClient, store: Store | None = None) -> None:
        self.client = client
        self.store = store
        self._models: list[dict[str, Any]] = []
        self._unreachable: OllamaUnreachable | None = None
        self._asked = False

    def reachable(self) -> bool:
        """Return whether the server answers.

        Raises:
            OllamaError: The answer is an error: then something else is wrong than a stopped service.
        """
        if not self._asked:
            try:
                self._models, self._unreachable = self.client.tags(), None
            except OllamaUnreachable as error:
                self._models, self._unreachable = [], error
            self._asked = True
        return self._unreachable is None

    def require_server(self) -> None:
        """Check that the server answers.

        Raises:
            OllamaUnreachable: It does not.
            OllamaError: The answer is an error.
        """
        if not self.reachable() and self._unreachable is not None:
            raise self._unreachable

    def forget(self) -> None:
        """Ask the server again next time, because something was changed."""
        self._asked = False

    def check_space(self, name: Name, needed: int | None) -> None:
        """Refuse a model that does not fit into the file system of the store.

        Args:
            name: The model.
            needed: Bytes that are still to be written; None where that is not known, which refuses nothing.

        Raises:
            ModelError: Fewer bytes are free.
        """
        if not self.store or not needed:
            return
        free = self.store.free_bytes()
        if free is not None and needed > free:
            raise ModelError(
                "%s needs %d bytes in %s, where %d are free; free %d more, or put the models directory on a larger "
                "file system" % (name, needed, self.store.path, free, needed - free)
            )

    def digest(self, name: Name) -> str | None:
        """Return the manifest digest of a model, or None where it is not there. In a store, only if it is complete."""
        if self.reachable():
            entry = find(self._models, name)
            return normalise_digest(entry.get("digest")) if entry else None
        manifest = self.store.complete(name) if self.store else None
        return manifest.digest if manifest else None

    def content(self, name: Name) -> dict[str, Any] | None:
        """Return the content (model_content.py) of a model, or None where it is not there."""
        if self.digest(name) is None:
            return None
        if not self.reachable():
            return content_in(self.store, name) if self.store else None
        try:
            return model_content.content_of_show(self.client.show(str(name)))
        except OllamaError as error:
            if error.status == 404:
                return None
            raise

    def pulled_digest(self, name: Name) -> str | None:
        """Return the manifest digest of a model as it was pulled, also where its name was given to another model since;
        None where it is not there."""
        digest = self.digest(name)
        if digest is None or self.store is None or not self.store.is_renamed(name):
            return digest
        manifest = self.store.complete(name, pulled=True)
        return manifest.digest if manifest else None

    def pulled_content(self, name: Name) -> dict[str, Any] | None:
        """Return the content (modelfile.py) of a model as it was pulled, or None where it is not there."""
        if self.store is not None and self.digest(name) is not None and self.store.is_renamed(name):
            return content_in(self.store, name, pulled=True)
        return self.content(name)

    def loaded(self, name: Name, names: Sequence[Name] = ()) -> dict[str, Any] | None:
        """Return the entry of /api/ps of a model, or None where it is not loaded.

        Args:
            name: of the model.
            names: its further names. A server lists a model by the name under which it was loaded, also where that
                name, an alias, names another model by now: where there are any, the same manifest tells.
        """
        entries = self.client.ps()
        found = find(entries, name)
        if found is not None:
            # After a model was replaced, a server may have both loaded under its name.
            digest = self.digest(name)
            same = [entry for entry in entries if entry.get("digest") and normalise_digest(entry["digest"]) == digest]
            return find(same, name) or found
        digest = self.digest(name) if names else None
        for entry in entries if digest else ():
            if entry.get("digest") and normalise_digest(entry["digest"]) == digest:
                found = found or entry
        return found

    def outdated(self, names: Sequence[Name]) -> list[dict[str, Any]]:
        """Return the entries of /api/ps with one of these names that are no model of the instance any more: the name
        had another file when it was loaded."""
        entries = [entry for name in names for entry in self.client.ps() if find([entry], name)]
        self.reachable()
        stored = {entry.get("digest") for entry in self._models}
        return [entry for entry in entries if entry.get("digest") and entry["digest"] not in stored]


def find(entries: Iterable[dict[str, Any]], name: Name) -> dict[str, Any] | None:
    """Return the entry of /api/tags or /api/ps for a model, or None. Ollama ignores the case of names."""
    for entry in entries:
        try:
            if parse(entry.get("name") or entry.get("model") or "").same(name):
                return entry
        except InvalidName:
            continue
    return None


def content_in(store: Store, name: Name, pulled: bool = False) -> dict[str, Any] | None:
    """Return the content of a model in a store on this host, or None where it is not complete there.

    Args:
        store: of an instance, or another one.
        name: of the model.
        pulled: whether the model is meant that was pulled under that name.
    """
    manifest = store.complete(name, pulled)
    return model_content.content_of_manifest(manifest, store.small_blob) if manifest else None
