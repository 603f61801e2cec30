# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the stores on a host hold for the instances of a plan, and from where a model can be linked or copied. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Any

from ..common import paths
from .model_entries import find, has_digest, parsed_name
from .schema import ModelState


@dataclass(frozen=True)
class Source:
    """Where a model comes from on the same host.

    `kind` is "link" or "copy", `where` the instance or the store that has it, `bytes` what a copy takes.
    """

    kind: str
    where: str
    bytes: int = 0


@dataclass(frozen=True)
class HeldModels:
    """The models in the stores of a host.

    `models` are entries with `name` and `digest` by store; a store that is missing there is not known. `instances` are
    the plan's, by store. `copied` are the stores whose blobs cannot be linked: they are on another file system, or not
    all of them belong to the service user.
    """

    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    copied: frozenset[str] = frozenset()

    def of(self, store: str) -> list[dict[str, Any]] | None:
        """Return the models in a store, None where they are not known."""
        return self.models.get(posixpath.normpath(store))

    def store_of(self, instance: str) -> str:
        """Return the store of an instance of the plan, "" where the plan does not have the instance."""
        return next((store for store, name in self.instances.items() if name == instance), "")

    def source(self, state: ModelState) -> Source | None:
        """Return from where a model can be linked or, where it cannot be linked, copied; None where that is not known.

        Args:
            state: the model, which its own instance does not have.
        """
        copy = None
        for store in map(posixpath.normpath, state.link_from):
            found = find(self.of(store), state.name)
            if found is None or not has_digest(found, state.digest):
                continue
            if store not in self.copied:
                return Source("link", self.instances.get(store, store))
            copy = copy or Source("copy", store, found.get("size_bytes") or 0)
        return copy

    def unknown_sources(self, state: ModelState) -> bool:
        """Return whether a store that a model may be linked or copied from is not known."""
        return any(self.of(store) is None for store in state.link_from)


def _as_pulled(entry: dict[str, Any], contents: dict[str, Any]) -> dict[str, Any]:
    """An entry of a server with what server_info found in the store that was pulled under its name."""
    name = parsed_name(entry)
    known = contents.get(str(name)) or {}
    return dict(entry, pulled_digest=known["pulled_digest"]) if "pulled_digest" in known else entry


def held_models(plan: dict[str, Any], host: dict[str, Any], servers: dict[str, Any]) -> HeldModels:
    """Return what is known of the stores of a host.

    Args:
        plan: of module placement_info.
        host: of module host_info, read with the plan's models directory; {} where only servers are known.
        servers: {instance: server} of known_servers.py. What a server says goes before what its store was read to hold.
    """
    own = {posixpath.normpath(instance["store"]): instance["name"] for instance in plan["instances"]}
    models: dict[str, list[dict[str, Any]]] = {}
    copied = set()
    if "stores" in host:
        there = {entry["name"] for entry in host["instances"] if entry["store"]}
        models = {store: [] for store, name in own.items() if name not in there}
        models[posixpath.normpath(paths.fetch_store(plan["models_dir"]))] = []
        for path, store in host["stores"].items():
            if store["models"] is not None:
                models[posixpath.normpath(path)] = store["models"]
            if path not in own and not (store["same_file_system"] and store["owned"]):
                copied.add(posixpath.normpath(path))
    for store, name in own.items():
        server = servers.get(name) or {}
        if server.get("reachable"):
            models[store] = [_as_pulled(entry, server.get("contents") or {}) for entry in server["models"]]
    return HeldModels(models, own, frozenset(copied))
