# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which plans are kept on a host, and which release is kept for a rollback. Pure.

A plan is told by its text and by the environments of its instances, with their secret values. Each is kept once: one
that comes into force again keeps its number, is the last again, and gets the record of its new proof. A run that
changes nothing writes nothing: the record says what the proof found that put the plan into force. The unit belongs to
the collection and not to the plan, so one that differs is written into the kept plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from ..common import paths
from .schema import Change, ManagedFile

#: How many plans are kept: the last in force.
KEPT = 5


def compare_history(
    files: Iterable[ManagedFile], host: Mapping[str, Any], rolled_back_from: Optional[int] = None
) -> list[Change]:
    """Return the changes of the history once a plan is proven.

    Args:
        files: every file that the plan needs on the host (wanted_files.wanted_files).
        host: of module host_info.
        rolled_back_from: number of the plan that is given up for this one.
    """
    wanted = identity({file.path: file.digest for file in files})
    unit = next((file.digest for file in files if file.path == paths.TEMPLATE_UNIT_FILE), None)
    plans = host["history"]["plans"]
    there = next((entry for entry in reversed(plans) if identity(entry["files"]) == wanted), None)
    number = there["number"] if there else max((entry["number"] for entry in plans), default=0) + 1
    reason = _reason(there, plans, unit)
    changes = []
    if reason:
        # What is written anew because of its unit is what it was.
        given_up = there["rolled_back_from"] if there is not None and there is plans[-1] else rolled_back_from
        details = {"number": number, "rolled_back_from": given_up}
        changes.append(Change("write", "history", paths.kept_plan(number), reason, details=details))
    others = [entry["number"] for entry in plans if entry["number"] != number]
    for old in others[: max(0, len(others) + 1 - KEPT)]:
        changes.append(Change("prune", "history", paths.kept_plan(old), "The last %d plans are kept." % KEPT))
    for path in host["history"]["leftovers"]:
        if path != paths.kept_plan(number):  # that one is written anew
            changes.append(Change("prune", "history", path, "It is no complete plan, such as a killed run leaves."))
    return changes


def kept_release(plans: Iterable[Mapping[str, Any]], version: str) -> Optional[str]:
    """Return the release that stays on a host beside the one in use: that of the last plan with another one.

    A release has gigabytes, so it is one. A rollback to a plan with an earlier release fetches that again.

    Args:
        plans: of host_info's `history`, the last one in force at the end.
        version: the release in use.
    """
    return next((entry["release"] for entry in reversed(list(plans)) if entry["release"] != version), None)


def identity(digests: Mapping[str, Optional[str]]) -> dict[str, Optional[str]]:
    """Return what tells a plan: {path: SHA-256} of its text and of its environment files.

    Args:
        digests: {path: SHA-256} of files in force, or of their copies.
    """
    return {path: digest for path, digest in digests.items() if path == paths.PLAN or paths.is_environment_file(path)}


def _reason(there: Optional[Mapping[str, Any]], plans: list, unit: Optional[str]) -> str:
    if there is None:
        return "This plan is not kept yet."
    if there is not plans[-1]:
        return "It comes into force again."
    if there["files"].get(paths.TEMPLATE_UNIT_FILE) != unit:
        return "The unit that is kept with it differs."
    return ""
