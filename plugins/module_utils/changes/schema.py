# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The shapes of this room: a change, all changes of a host, a managed file, and what the role's variables decide beside
the plan. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from .program_units import Checking
from .unit_file import Sandbox


@dataclass(frozen=True)
class Change:
    """One thing that a run does to a host.

    `kind` is the verb and `object` what it is done to (order.py lists the pairs); `what` names it (a path, a unit, a
    model), `reason` is one sentence. `instance` is the name of the instance that it belongs to, "" where it belongs to
    the host. `details` holds what a task needs beside the name; it never holds the content of a file.
    """

    kind: str
    object: str
    what: str
    reason: str
    instance: str = ""
    details: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """The difference between a host and its plan.

    `changes` are in the order in which they are made; `obstacles` are sentences about what keeps them from being made;
    `notes` are sentences that a user should read. `files` are the managed files that differ, `models` the wanted states
    of all models, and `fetched` those of the models that are brought into the store of the fetch server before.
    `switches` are the sets of instances that are changed one after the other.
    """

    changes: tuple[Change, ...] = ()
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[ManagedFile, ...] = ()
    models: tuple[ModelState, ...] = ()
    fetched: tuple[ModelState, ...] = ()
    switches: tuple[Switch, ...] = ()

    def of(self, kind: str, target: str) -> list[Change]:
        """Return the changes of one kind and object, in order."""
        return [change for change in self.changes if (change.kind, change.object) == (kind, target)]


@dataclass(frozen=True)
class ManagedFile:
    """A file, directory or link as the role wants it, with the option names of module instance_files.

    `state` is file, directory, link or absent. `content` belongs to a file and `target` to a link. `digest` is the
    SHA-256 of the content with its secret values, which `content` hides. `owner`, `group` and `mode` are not changed
    where they are None. `stage` is when it is put there: "fetch" for what no client notices, "guard" for what has to be
    there before the first switch, "switch", or "finish" for what is written last. `instance` is the one that it belongs
    to, "" where it belongs to the host. `backup` keeps a copy of what is replaced, `diff` shows its content in diff
    mode, and `force` lets a link replace a file.
    """

    path: str
    state: str
    content: Optional[str] = None
    digest: Optional[str] = None
    target: Optional[str] = None
    owner: Optional[str] = None
    group: Optional[str] = None
    mode: Optional[str] = None
    backup: bool = False
    diff: bool = True
    force: bool = False
    stage: str = "switch"
    instance: str = ""


@dataclass(frozen=True)
class ModelState:
    """A model of one instance in the state that it shall have, with the option names of module instance_models.

    `base` is that module's `from`: the model that this one is made from, "" for one that is pulled. `draft` is the
    model whose file becomes its draft model, "" for none but that of the base. `same_as` is the model that a further
    name shall name, "" for a model of its own; `aliases` are such names of a model.
    `planned_digest` and `headers` are those that the plan was made from; None where it does not say. `staged_as` is the
    name that it has in the store of the fetch server where another model has its own there. `file` is the user's file
    that it, or its base, comes from (ollama/own_file.py), None for a model of a registry; `adapters` are the user's
    files that are added to one that is made: {kind, where, sha256, size_bytes}. `keep_blobs` tells whether its blobs
    stay where it is removed.
    """

    instance: str
    name: str
    state: str
    url: str
    store: str
    link_from: tuple[str, ...] = ()
    base: str = ""
    draft: str = ""
    same_as: str = ""
    aliases: tuple[str, ...] = ()
    digest: str = ""
    planned_digest: Optional[str] = None
    file: Optional[dict] = None
    adapters: list = field(default_factory=list)
    headers: Optional[list] = None
    insecure: bool = False
    parameters: dict = field(default_factory=dict)
    system: str = ""
    template: str = ""
    keep_alive: Any = -1
    keep_blobs: bool = False
    staged_as: str = ""


@dataclass(frozen=True)
class Switch:
    """A set of old instances that stop and of new ones that start, because they share a GPU or a port; usually one
    instance. Before the next switch, its instances are loaded and proven.

    `instances` are those of the plan, and `restarted` those of them that are stopped and started; `stopped` are the
    units that do not come back. `changes`, `files` and `models` are what is done to them.
    """

    instances: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    files: tuple[ManagedFile, ...] = ()
    models: tuple[ModelState, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What the role's variables say beside the plan.

    `version` is the release and `checksum` its SHA-256 or the address of a sha256sum.txt, without credentials;
    `adopt` tells whether an Ollama from elsewhere is taken over; `models_dir` is the parent of the instances' stores;
    `libraries` are the controller's copies of the modules' libraries, {name: digest or None where it has none};
    `program` is the digest of the controller's copy of the host's program, None where none is put on the host;
    `checking` says what is checked between runs; `sandbox` how the instances are protected;
    `allow_from` are the networks whose hosts may connect to them, () for no rules;
    `acknowledged` names what may open a service to others. `secrets` are the values of variables that the plan hides,
    by name. `is_rollback` tells that the plan is a kept one, and `rolled_back_from` is the number of the plan that is
    given up for it, None where there is none.
    `keep_blobs` tells whether blobs of models that were replaced or removed stay for a quick rollback.
    """

    version: str
    checksum: str
    models_dir: str
    adopt: bool = False
    listen_address: str = ""
    libraries: dict = field(default_factory=dict)
    program: Optional[str] = None
    checking: Checking = Checking()
    sandbox: Sandbox = Sandbox()
    allow_from: tuple[str, ...] = ()
    acknowledged: tuple[str, ...] = ()
    secrets: dict = field(default_factory=dict, repr=False)
    is_rollback: bool = False
    keep_blobs: bool = False
    rolled_back_from: Optional[int] = None
