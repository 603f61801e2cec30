# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the file systems of a host have room for what a run brings: said before the first byte. Pure.

Figures are lower bounds, so that nothing is refused that would fit. How many bytes a model really takes is known when
the manifest is compared with all stores; the fetch stage refuses it then, before it fetches anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..common import paths
from ..common.names import key_of
from ..common.sizes import gib
from ..releases import archives
from .schema import Change, ModelState, Wanted


@dataclass(frozen=True)
class Need:
    """Bytes that something takes, `what`, in the file system that holds `path`."""

    path: str
    bytes: int
    what: str


def space_obstacles(
    plan: dict[str, Any], host: dict[str, Any], changes: list[Change], fetched: list[ModelState], wanted: Wanted
) -> list[str]:
    """Return a sentence for each file system that has less room than a run takes.

    Args:
        plan: of module placement_info.
        host: of module host_info; what it does not say of its file systems is not judged.
        changes: of the run.
        fetched: models that the fetch server brings.
        wanted: what the role's variables say.
    """
    needs = _release(host, changes, wanted) + _models(plan, host, fetched) + _copies(plan, changes)
    known = {entry["path"]: entry for entry in host.get("file_systems") or []}
    devices = {known[need.path]["device"]: known[need.path] for need in needs if need.path in known}
    found = []
    for device, entry in devices.items():
        here = [need for need in needs if need.path in known and known[need.path]["device"] == device]
        total, free = sum(need.bytes for need in here), entry["free_bytes"]
        if total > free:
            found.append(
                "The file system of %s has %d bytes (%s) free, and this run needs %d (%s) there: %s. Free %d bytes "
                "more, or %s."
                % (
                    entry["path"],
                    free,
                    gib(free),
                    total,
                    gib(total),
                    ", ".join("%s for %s" % (gib(need.bytes), need.what) for need in here),
                    total - free,
                    _remedy(entry["path"]),
                )
            )
    return found


def _remedy(path: str) -> str:
    if path == paths.RELEASES:
        return "give %s a larger file system" % paths.INSTALLATION
    return "set ollama_multigpu_models_dir to a directory on a larger file system"


def _release(host: dict[str, Any], changes: list[Change], wanted: Wanted) -> list[Need]:
    """The archive and what is unpacked from it; that is removed after it is in place."""
    if not any((change.kind, change.object) == ("fetch", "release") for change in changes):
        return []
    architecture = archives.ARCHITECTURES.get(host["architecture"], "")
    upstream = archives.CHECKSUMS.get(wanted.version, {}).get(architecture) == wanted.checksum
    archive, unpacked = archives.LEAST_BYTES.get(architecture, (0, 0)) if upstream else (0, 0)
    size = archive + max([unpacked, *((host["release"].get("sizes") or {}).values() if upstream else ())])
    what = "the archive of Ollama %s and what is in it" % wanted.version
    return [Need(paths.RELEASES, size, what)] if size else []


def _models(plan: dict[str, Any], host: dict[str, Any], fetched: list[ModelState]) -> list[Need]:
    """Models that are fetched, less what the store of the fetch server has of downloads that are not complete."""
    stores = host.get("stores") or {}
    held = {key_of(entry["name"]) for store in stores.values() for entry in store.get("models") or []}
    sizes = {
        model["name"]: model.get("size_bytes") or 0 for instance in plan["instances"] for model in instance["models"]
    }
    # Of one that a store has in another form, some blobs are there: which ones is not known yet.
    names = [state.name for state in fetched if not state.base and key_of(state.name) not in held]
    digests = {state.planned_digest or state.name: state.name for state in fetched if state.name in names}
    begun = (stores.get(paths.fetch_store(plan["models_dir"])) or {}).get("begun_bytes") or 0
    total = max(0, sum(sizes.get(name, 0) for name in digests.values()) - begun)
    what = "models that are fetched (%s)" % ", ".join(sorted(digests.values()))
    return [Need(plan["models_dir"], total, what)] if total else []


def _copies(plan: dict[str, Any], changes: list[Change]) -> list[Need]:
    copies = [change for change in changes if (change.kind, change.object) == ("copy", "model")]
    total = sum(change.details["bytes"] for change in copies)
    where = " and ".join(sorted({change.details["from"] for change in copies}))
    return [Need(plan["models_dir"], total, "models that are copied from %s" % where)] if copies else []
