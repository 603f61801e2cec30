# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is brought into the store of the fetch server while the instances serve, each model once. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from ..common import paths
from ..common.names import full_name, key_of
from ..common.sizes import gib
from .held_models import Source
from .schema import Change, ModelState

#: Name of the fetch server where an instance has its own.
INSTANCE = "fetch"
#: Longest tag of Ollama (types/model/name.go).
_LONGEST_TAG = 80


@dataclass
class Staging:
    """The models that the fetch server brings.

    Attributes:
        models_dir: Parent of the stores.
        link_from: Stores on the host, from which a model is linked or copied.
        states: The wanted states in the store of the fetch server, in the order in which they are made.
        changes: What that does to the host.
    """

    models_dir: str
    link_from: list[str]
    states: list[ModelState] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def store(self) -> str:
        """Return the models directory of the fetch server."""
        return paths.fetch_store(self.models_dir)

    def add(self, state: ModelState, source: Source | None, reason: str) -> ModelState:
        """Bring a model that an instance lacks.

        Two instances may have different models under one name: layers are forced onto the GPUs of one of them alone,
        for example. The second one gets another name here.

        Args:
            state: the model as its instance shall have it.
            source: the store that it is copied from; None where it is fetched or created.
            reason: why.

        Returns:
            The state with the name under which the model is here.
        """
        wanted = self._here(state)
        same_name = [known for known in self.states if key_of(known.name) == key_of(wanted.name)]
        if same_name and not wanted.base:
            return state
        if same_name and wanted not in same_name:
            wanted = replace(wanted, name=_other_name(wanted))
            state = replace(state, staged_as=wanted.name)
        if wanted not in self.states:
            self.states.append(wanted)
            self.changes.append(_change(wanted, source, reason))
        return state

    def take_along(self, state: ModelState) -> None:
        """Bring a model that its instance has, because another one is made from it. It is linked: no change."""
        if not any(key_of(known.name) == key_of(state.name) for known in self.states):
            self.states.append(self._here(state))

    def _here(self, state: ModelState) -> ModelState:
        others = tuple(dict.fromkeys(store for store in self.link_from if store != self.store))
        return replace(state, instance=INSTANCE, url="", store=self.store, link_from=others, keep_alive=-1)


def _change(state: ModelState, source: Source | None, reason: str) -> Change:
    if state.base:
        return Change("create", "model", state.name, reason, details={"from": state.base})
    if source is None:
        return Change("fetch", "model", state.name, reason)
    reason += (
        " %s are copied from %s, whose files cannot be linked: they are on another file system, or not all of them "
        "belong to the service user." % (gib(source.bytes), source.where)
    )
    return Change("copy", "model", state.name, reason, details={"from": source.where, "bytes": source.bytes})


def _other_name(state: ModelState) -> str:
    """A name of its own for a model, always the same one for the same content."""
    adapters = [one["sha256"] for one in state.adapters]
    content = repr((state.base, state.draft, adapters, sorted(state.parameters.items()), state.system, state.template))
    name, _colon, tag = full_name(state.name).rpartition(":")
    suffix = "-" + hashlib.sha256(content.encode("utf-8")).hexdigest()[:8]
    return "%s:%s%s" % (name, tag[: _LONGEST_TAG - len(suffix)], suffix)
