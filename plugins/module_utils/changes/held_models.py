# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the stores on a host hold for the instances of a plan, and from where a model can be linked. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Any, Iterable

from .model_entries import find, has_digest
from .schema import ModelState


@dataclass(frozen=True)
class HeldModels:
    """The models in the stores of a host.

    `models` are entries with `name` and `digest` by store; a store that is missing there is not known. `instances` are
    the plan's, by store.
    """

    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)

    def of(self, store: str) -> list[dict[str, Any]] | None:
        """Return the models in a store, None where they are not known."""
        return self.models.get(posixpath.normpath(store))

    def source(self, state: ModelState, before: Iterable[ModelState]) -> str:
        """Return the instance or the store that a model can be linked from, "" where none is known.

        Args:
            state: the model, which its own instance does not have.
            before: the models that are brought to the plan's instances before this one.
        """
        for store in state.link_from:
            if has_digest(find(self.of(store), state.name), state.digest):
                return self.instances.get(posixpath.normpath(store), store)
        for other in before:
            entry = find([{"name": other.name, "digest": other.digest}], state.name)
            if other.store in state.link_from and not other.base and has_digest(entry, state.digest):
                return other.instance
        return ""

    def unknown_sources(self, state: ModelState) -> bool:
        """Return whether a store that a model may be linked from is not known."""
        return any(self.of(store) is None for store in state.link_from)


def held_models(plan: dict[str, Any], host: dict[str, Any], servers: dict[str, Any]) -> HeldModels:
    """Return what is known of the stores of a host.

    Args:
        plan: of module placement_info.
        host: of module host_info, read with the plan's models directory; {} where only servers are known.
        servers: {instance: server} of known_servers.py. What a server says goes before what its store was read to hold.
    """
    own = {posixpath.normpath(instance["store"]): instance["name"] for instance in plan["instances"]}
    models: dict[str, list[dict[str, Any]]] = {}
    if "stores" in host:
        there = {entry["name"] for entry in host["instances"] if entry["store"]}
        models = {store: [] for store, name in own.items() if name not in there}
        for path, store in host["stores"].items():
            if store["models"] is not None:
                # Nothing can be linked from another file system.
                usable = path in own or store["same_file_system"]
                models[posixpath.normpath(path)] = store["models"] if usable else []
    for store, name in own.items():
        server = servers.get(name) or {}
        if server.get("reachable"):
            models[store] = server["models"]
    return HeldModels(models, own)
