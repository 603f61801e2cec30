# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which files, directories and links of a host differ from those that a plan needs (wanted_files.py). Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from ..common import paths, secrets
from .program_units import Checking
from .schema import Change, ManagedFile


def compare_files(
    needed: Iterable[ManagedFile], plan: dict[str, Any], host: dict[str, Any], checking: Checking
) -> tuple[list[Change], list[ManagedFile]]:
    """Return the changes of files, directories and links, and the files that differ, as module instance_files takes
    them.

    Args:
        needed: of wanted_files.wanted_files.
        plan: of module placement_info.
        host: of module host_info.
        checking: what is checked between runs.
    """
    changes, files = [], []
    for file, reason in _removed(plan, host, checking):
        changes.append(Change("remove", "file", file.path, reason, file.instance))
        files.append(file)
    for wanted in needed:
        found = host["files"].get(wanted.path)
        reason = difference(wanted, found)
        if reason:
            changes.append(_change(wanted, reason))
            files.append(wanted)
    return changes, files


def written_unit_files(files: list[ManagedFile], host: dict[str, Any], plan: dict[str, Any]) -> dict[str, list[str]]:
    """Return {unit: reasons} of what a run changes in the files that systemd reads for a unit; the template stands for
    all instances. A file of which only owner or mode differ is not in it, because the services do not read that.

    An environment file is in it where the plan hides a value: the process cannot be compared with that.

    Args:
        files: of compare_files.
        host: of module host_info.
        plan: of module placement_info.
    """
    found: dict[str, list[str]] = {}
    differ = {file.path: file for file in files}
    for entry in host["drop_ins"]:
        if entry["path"] in differ:
            found.setdefault(entry["unit"], []).append("the drop-in %s is removed" % entry["path"])
    if _is_rewritten(differ.get(paths.TEMPLATE_UNIT_FILE), host):
        found.setdefault(paths.TEMPLATE_UNIT, []).append("the unit file %s is written" % paths.TEMPLATE_UNIT_FILE)
    for instance in plan["instances"]:
        path = paths.environment_file(instance["name"])
        if secrets.hidden_names(instance["environment"]) and _is_rewritten(differ.get(path), host):
            found.setdefault(instance["unit"], []).append("the environment file %s is written" % path)
    return found


def _is_rewritten(wanted: ManagedFile | None, host: dict[str, Any]) -> bool:
    """Whether a file that differs gets another content."""
    if wanted is None:
        return False
    there = host["files"].get(wanted.path) or {}
    return there.get("kind") != "file" or there["digest"] != wanted.digest


def is_absent(path: str, host: Mapping[str, Any]) -> bool:
    """Return whether a host has nothing at a path, as far as module host_info knows it."""
    found = host["files"].get(path)
    return found is None or found["kind"] == "absent"


def _removed(plan: dict[str, Any], host: dict[str, Any], checking: Checking) -> list[tuple[ManagedFile, str]]:
    """(file, reason) of what is in the way: drop-ins of others, what instances that are gone have left (environments,
    which may hold passwords and are not shown, plans and links to releases), and a timer that is not wanted."""
    planned = {instance["name"] for instance in plan["instances"]}
    gone = [entry for entry in host["instances"] if entry["name"] not in planned]
    left = [(paths.environment_file(entry["name"]), entry["name"]) for entry in gone if entry["env_file"]]
    left += [(paths.instance_release(entry["name"]), entry["name"]) for entry in gone if entry["release"]]
    left += [
        (path, posixpath.basename(path)[: -len(".json")])
        for path in host["files"]
        if paths.is_instance_plan(path) and not is_absent(path, host)
    ]
    drop_ins = [
        (
            # What others have added is shown and copied before it goes.
            ManagedFile(entry["path"], "absent", backup=True, instance=paths.instance_of(entry["unit"]) or ""),
            "It changes %s, and the role writes no drop-ins." % entry["unit"],
        )
        for entry in host["drop_ins"]
    ]
    timer = _removed_metrics(host, checking)
    if not checking.interval and not is_absent(paths.CHECK_TIMER_FILE, host):
        timer += [(ManagedFile(paths.CHECK_TIMER_FILE, "absent", diff=False), "ollama_multigpu_check_interval is 0.")]
    return (
        drop_ins
        + [
            (ManagedFile(path, "absent", diff=False, instance=name), "The plan has no instance %s." % name)
            for path, name in left
            if name not in planned
        ]
        + timer
    )


def _removed_metrics(host: dict[str, Any], checking: Checking) -> list[tuple[ManagedFile, str]]:
    """The metrics in a directory that is not the one for them any more, and what the program reads of it."""
    before, now = host["metrics_directory"], checking.metrics_directory
    left = [paths.metrics_file(before)] if before and before != now else []
    left += [] if now else [paths.METRICS_SETTINGS]
    reason = "ollama_multigpu_metrics_directory is %s." % (now or "empty")
    return [(ManagedFile(path, "absent", diff=False), reason) for path in left if not is_absent(path, host)]


def difference(wanted: ManagedFile, found: dict[str, Any] | None) -> str:
    """Return why a file is written; "" where it is as wanted.

    Args:
        wanted: the file.
        found: of module host_info, None where it does not know it.
    """
    if found is None or found["kind"] == "absent":
        return "It is not there."
    if found["kind"] != wanted.state:
        return "It is a %s, not a %s." % (found["kind"], wanted.state)
    if wanted.state == "link" and found["target"] != wanted.target:
        return "It points to %s, not to %s." % (found["target"], wanted.target)
    if wanted.content is not None and found["digest"] != wanted.digest:
        return "Its content differs from the plan's."
    for key in ("owner", "group", "mode"):
        value = getattr(wanted, key)
        if value is not None and found[key] != value:
            return "Its %s is %s, not %s." % (key, found[key], value)
    return ""


def _change(wanted: ManagedFile, reason: str) -> Change:
    if wanted.path in (paths.CURRENT, paths.COMMAND, paths.PROGRAM_COMMAND):
        return Change("link", "command", wanted.path, reason, details={"target": wanted.target})
    if posixpath.dirname(wanted.path) == paths.INSTANCE_RELEASES:
        return Change("link", "release", wanted.path, reason, wanted.instance, {"target": wanted.target})
    if wanted.stage == "finish":
        return Change("write", "plan", wanted.path, reason)
    if wanted.stage == "fetch":
        return Change("write", "directory" if wanted.state == "directory" else "record", wanted.path, reason)
    return Change("write", "file", wanted.path, reason, wanted.instance)
