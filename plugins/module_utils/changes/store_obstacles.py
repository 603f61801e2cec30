# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What in the stores on a host keeps a run from its end, is left aside or left over: said before anything is changed.
Pure."""

from __future__ import annotations

import re
from typing import Any

from ..common import paths
from ..common.sizes import gib
from . import order
from .schema import Change

#: A whole blob, and no part of one.
_BLOB = re.compile(r"sha256-[0-9a-f]{64}\Z")
#: Kinds of changes that bring blobs to an instance.
_BRINGING = ("fetch", "link", "copy", "create")


def store_obstacles(host: dict[str, Any]) -> list[str]:
    """Return sentences about what is refused in the stores of instances.

    Args:
        host: of module host_info.
    """
    return ["%s." % problem for store in _stores(host).values() for problem in store.get("problems") or []]


def store_notes(host: dict[str, Any], link_stores: list[str], changes: list[Change]) -> list[str]:
    """Return sentences about what cannot be taken from the stores of others and is fetched, where something is.

    Args:
        host: of module host_info.
        link_stores: models directories that models may be taken from.
        changes: of the models.
    """
    if not any((change.kind, change.object) == ("fetch", "model") for change in changes):
        return []
    stores = _stores(host)
    return [
        "What cannot be taken from the store %s is fetched: %s." % (store, note)
        for store in link_stores
        for note in (stores.get(store) or {}).get("notes") or []
    ]


def leftover_changes(
    plan: dict[str, Any], host: dict[str, Any], changes: list[Change], keep_blobs: bool = False
) -> list[Change]:
    """Return the changes that take away what no model of an instance's store uses any more.

    The servers do not: they run with OLLAMA_NOPRUNE, so that a download goes on after a pause of any length. While
    something is brought to an instance, what is there may be a part of it, and stays.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        changes: of the models.
        keep_blobs: whether whole blobs stay, so that a model that comes back is not fetched again.
    """
    busy = {change.instance for change in changes if change.kind in _BRINGING}
    found = []
    for instance in plan["instances"]:
        leftovers = (_stores(host).get(instance["store"]) or {}).get("leftovers") or []
        leftovers = [one for one in leftovers if not (keep_blobs and _BLOB.match(one["name"]))]
        if not leftovers or instance["name"] in busy:
            continue
        names = ["%s/blobs/%s" % (instance["store"], leftover["name"]) for leftover in leftovers]
        size = gib(sum(leftover["size_bytes"] for leftover in leftovers))
        count = "1 file" if len(names) == 1 else "%d files" % len(names)
        reason = "No model uses %s (%s) of a download that was given up or a model that was replaced." % (count, size)
        found.append(Change("prune", "leftovers", instance["store"], reason, instance["name"], {"paths": names}))
    return found


def fetch_store_changes(plan: dict[str, Any], host: dict[str, Any], changes: list[Change]) -> list[Change]:
    """Return the change that empties the store of the fetch server, once the instances have what it holds.

    Its directory stays: the server's key is in it, which the owner of a private model may have been given.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        changes: of the models.
    """
    store = paths.fetch_store(plan["models_dir"])
    there = _stores(host).get(store) or {}
    fetched = any(change.object == "model" and order.stage(change) == order.FETCH for change in changes)
    if not fetched and not there.get("models") and not there.get("leftovers"):
        return []
    beside = [store + "/" + name for name in (paths.PULLED_MANIFESTS, paths.GIVEN_MANIFESTS)]
    emptied = [paths.blobs(store), paths.manifests(store), *beside]
    reason = "The stores of the instances have what it holds."
    return [Change("prune", "store", store, reason, details={"paths": emptied})]


def _stores(host: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return host.get("stores") or {}
