# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models of the instances: which have to be brought, deleted, unloaded and loaded, and the wanted states that module
instance_models takes. Pure.

The rules are those of ollama/created.py, ollama/present.py and ollama/loading.py, which make the changes; here they
decide by what server_info has read.
"""

from __future__ import annotations

import dataclasses
import posixpath
from typing import Any, Collection

from ..common.names import draft_name, full_name, further_names, key_of, normalise_digest, served_name
from ..ollama import model_content, modelfile, parameters, staleness
from ..ollama.fingerprint import fingerprint
from .held_models import HeldModels, Source, held_models
from .model_entries import find, find_loaded, has_digest
from .schema import Change, ModelState
from .staging import Staging
from .unplanned import compare_unplanned
from .wanted_models import model_state, wanted_models

_PLURAL = ("adapters", "messages")


def served_models(plan: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any], str]]:
    """Return (instance, model, name) of everything that clients use; name is the optimized model's where there is
    one."""
    return [(instance, model, served_name(model)) for instance in plan["instances"] for model in instance["models"]]


def compare_models(
    plan: dict[str, Any],
    servers: dict[str, Any],
    applied: dict[str, Any],
    stores: list[str],
    restarted: set[str],
    host: dict[str, Any],
) -> tuple[list[Change], list[ModelState], list[ModelState]]:
    """Return the changes of models, the wanted states of all of them in the order in which they are made, and those of
    the models that are brought into the store of the fetch server before.

    Args:
        plan: of module placement_info.
        servers: {instance: server} of module server_info; only those of known_servers.py.
        applied: the plan that was applied before; {} where there is none.
        stores: directories that models may be linked or copied from, beside the stores of the plan's instances.
        restarted: names of the instances that are started or restarted before; nothing is loaded in them then.
        host: of module host_info; {} where nothing is known of the stores but what servers say.
    """
    present = wanted_models(plan, stores)
    changes: list[Change] = []
    brought: set[tuple[str, str]] = set()
    staging = Staging(plan["models_dir"], [instance["store"] for instance in plan["instances"]] + list(stores))
    held = held_models(plan, host, servers)
    for number, state in enumerate(present):
        if state.same_as:
            changes += _renamed(state, servers, brought)
            continue
        reason = _lacking(state, servers, held)
        if not reason and _is_another(state, held):
            state = present[number] = dataclasses.replace(state, digest=state.planned_digest or "")
            reason = _lacking(state, servers, held) + " The plan was made from that one."
        again = [name for name in (state.base, state.draft) if name and (state.instance, full_name(name)) in brought]
        if not reason and again:
            # What the new one holds is known only when it is there; the run then creates the model if it differs.
            reason = "Its %s is brought again." % ("base" if again[0] == state.base else "draft model")
        if not reason:
            continue
        brought.add((state.instance, full_name(state.name)))
        source = _source(state, servers, held)
        if source is not None and source.kind == "link":
            changes.append(Change("link", "model", state.name, reason, state.instance, {"from": source.where}))
            continue
        if source is None and not state.base and held.unknown_sources(state):
            reason += " What all stores on the host hold is not known: it is linked or copied where one has it."
        for other in present[:number]:
            if state.draft and other.instance == state.instance and key_of(other.name) == key_of(state.draft):
                staging.take_along(other)
        present[number] = staging.add(state, source, reason)
        linked = {"from": staging.store}
        changes.append(Change("link", "model", state.name, "It is fetched before the switch.", state.instance, linked))
    early = _replaced_files(plan, servers, brought, restarted)
    removed, absent = compare_unplanned(plan, servers, restarted)
    further, in_memory = _in_memory(plan, servers, moved_models(plan, applied), brought, restarted)
    return staging.changes + changes + removed + further, early + present + absent + in_memory, staging.states


def _in_memory(
    plan: dict[str, Any],
    servers: dict[str, Any],
    moved: Collection[tuple[str, str]],
    brought: Collection[tuple[str, str]],
    restarted: Collection[str],
) -> tuple[list[Change], list[ModelState]]:
    """What is unloaded and loaded: (changes, wanted states).

    Args:
        plan: of module placement_info.
        servers: of module server_info, by instance.
        moved: (instance, model) of those that are on other GPUs or have another batch than before.
        brought: (instance, model) of those that are brought again.
        restarted: instances whose servers start anew.
    """
    changes: list[Change] = []
    unloaded, loaded = [], []
    for instance, model, name in served_models(plan):
        server = servers.get(instance["name"]) or {}
        others = tuple(further_names(model))
        entry = None if instance["name"] in restarted else find_loaded(server, name)
        if (instance["name"], name) in moved:
            unloaded.append(model_state(instance, name, state="unloaded", aliases=others))
            if entry:
                reason = "Its layers are on other GPUs, or its batch has another size, than in the plan before."
                changes.append(Change("unload", "model", name, reason, instance["name"]))
                entry = None
        if entry and (instance["name"], name) in brought:
            reason = "It is brought again."
        else:
            reason = _load_reason(instance, name, model["keep_alive"], server, entry)
        if model.get("resident") is False:
            # The next request loads it, as it is in the store by then.
            if entry and reason:
                changes.append(Change("unload", "model", name, reason, instance["name"]))
                unloaded.append(model_state(instance, name, state="unloaded", aliases=others))
            continue
        if reason:
            changes.append(Change("load", "model", name, reason, instance["name"]))
        loaded.append(model_state(instance, name, state="loaded", keep_alive=model["keep_alive"], aliases=others))
    return changes, unloaded + loaded


def _replaced_files(
    plan: dict[str, Any], servers: dict[str, Any], brought: Collection[tuple[str, str]], restarted: Collection[str]
) -> list[ModelState]:
    """Loaded models that are to get another file, as unloaded: a server unloads a model by a name of its file (Ollama
    0.32, server/sched.go: expireRunner), so that it is done as long as the name has that file. Arguments as of
    `_in_memory`."""
    found = []
    for instance, model, name in served_models(plan):
        files = [model.get("from") or model["name"], draft_name(model)]
        if instance["name"] in restarted or not any(
            file and (instance["name"], full_name(file)) in brought for file in files
        ):
            continue
        if find_loaded(servers.get(instance["name"]) or {}, name):
            found.append(model_state(instance, name, state="unloaded", aliases=tuple(further_names(model))))
    return found


def moved_models(plan: dict[str, Any], applied: dict[str, Any]) -> set[tuple[str, str]]:
    """Return (instance, model) of what the same settings would split differently over the same GPUs than before.

    Where the memory of other processes has changed, layers go to other GPUs; a server decides that when it loads a
    model, and a loaded model stays where it is.
    """
    before, now = _layouts(applied), _layouts(plan)
    return {key for key in now if key in before and before[key] != now[key]}


def _lacking(state: ModelState, servers: dict[str, Any], held: HeldModels) -> str:
    """Why a model has to be brought to its instance; "" where it is there.

    What is not known of a store is said in the reason: instance_models looks, and does nothing where the model is
    there.
    """
    server = servers.get(state.instance) or {}
    entries = held.of(state.store)
    there = find(entries, state.name)
    if entries is None:
        return (
            "%s does not run with the planned address and store, or does not answer, so what it has is not known."
            % state.instance
        )
    if there is None and server.get("reachable"):
        return "%s does not have it." % state.instance
    if there is None:
        return "The store of %s does not have it." % state.instance
    if state.base:
        return _differing(state, server)
    if not has_digest(there, state.digest):
        return "%s has it with another digest than %s." % (state.instance, state.digest)
    return ""


def _is_another(state: ModelState, held: HeldModels) -> bool:
    """Whether an instance has another model under a name than the plan was made from.

    A plan is made from what the first store of a host has (headers_to_read.py); another store may hold what was pulled
    or copied there since. The user's own pin goes before the plan's digest.
    """
    if state.base or state.digest or not state.planned_digest or state.file:
        return False
    return not has_digest(find(held.of(state.store), state.name), state.planned_digest)


def _source(state: ModelState, servers: dict[str, Any], held: HeldModels) -> Source | None:
    """From where a model can be linked or copied; None where it is fetched, or created, by the fetch server."""
    if not state.base:
        return held.source(state)
    stores = [posixpath.normpath(store) for store in state.link_from]
    for name, server in servers.items():
        if held.store_of(name) in stores and find(server.get("models"), state.name) is not None:
            if server.get("reachable") and not _differing(state, server):
                return Source("link", name)
    return None


def _renamed(state: ModelState, servers: dict[str, Any], brought: set[tuple[str, str]]) -> list[Change]:
    """The change that lets a further name name a model; none where it does."""
    server = servers.get(state.instance) or {}
    if (state.instance, full_name(state.same_as)) in brought:
        reason = "It becomes another name of %s." % state.same_as
    elif not server.get("reachable"):
        return []
    else:
        there, wanted = (find(server["models"], name) for name in (state.name, state.same_as))
        if there is not None and wanted is not None and there.get("digest") == wanted.get("digest"):
            return []
        reason = (
            "A request under this name is to be served by %s. With other parameters, it would load the model again "
            "without what was planned." % state.same_as
        )
    return [Change("alias", "model", state.name, reason, state.instance, {"same_as": state.same_as})]


def _differing(state: ModelState, server: dict[str, Any]) -> str:
    """Why an optimized model is created again; "" where it contains what the plan says."""
    contents = server.get("contents") or {}
    existing, base = (contents.get(full_name(name), {}).get("content") for name in (state.name, state.base))
    draft = contents.get(full_name(state.draft), {}).get("content") if state.draft else None
    if existing is None:
        return "What it contains is not known."
    request = dict(
        modelfile.empty_request(),
        parameters=parameters.check(state.parameters),
        system=state.system or None,
        template=state.template or None,
    )
    # Where the base is not at hand, what the request does not name is taken from the model as it is.
    adapters = [normalise_digest(one["sha256"]) for one in state.adapters]
    wanted = model_content.desired(
        base or existing, fingerprint(request), adapters, model_content.only_file(draft) if draft else ""
    )
    keys = model_content.differences(existing, wanted)
    if not keys:
        return ""
    before, after = existing["parameters"], wanted["parameters"]
    pairs = [(name, _shown(before, name), _shown(after, name)) for name in sorted({**before, **after})]
    differences = ["%s is %s, not %s" % (name, old, new) for name, old, new in pairs if old != new]
    words = ["its %s %s" % (key, "differ" if key in _PLURAL else "differs") for key in keys if key != "parameters"]
    return "%s." % "; ".join(differences + words)


def _shown(values: dict[str, Any], name: str) -> Any:
    """A parameter for a message. A null is a value: it takes away what the base has."""
    value = values.get(name, "unset")
    return "null" if value is None else value


def _load_reason(
    instance: dict[str, Any], name: str, keep_alive: Any, server: dict[str, Any], entry: dict[str, Any] | None
) -> str:
    """Why a model is loaded, or loaded again; "" where it need not be."""
    if entry is None:
        return "%s does not have it loaded." % instance["name"]
    there = find(server.get("models"), name)
    known = (server.get("contents") or {}).get(full_name(name))
    if there is None or known is None:
        return "Whether it is the one in the store is not known."
    stale = staleness.stale_reason(
        normalise_digest(there.get("digest")), entry, known["num_ctx"], known["trained_context"]
    )
    if stale:
        return "It was %s." % stale
    return "It was loaded for a time only." if staleness.expires(keep_alive, entry) else ""


def _layouts(plan: dict[str, Any]) -> dict[tuple[str, str], tuple[list[tuple[str, int]], int]]:
    """{(instance, model): its layers by GPU and its batch}: what a server decides when it loads a model and never
    again."""
    return {
        (instance["name"], name): (
            [(device["uuid"], device.get("layers")) for device in model["predicted"]["devices"]],
            model["predicted"].get("ubatch"),
        )
        for instance, model, name in served_models({"instances": plan.get("instances") or []})
    }
