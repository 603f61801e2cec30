# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The files, directories and links that the role has on a host, and which of them differ. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..common import environment_file, paths, secrets
from ..common.json_text import json_text
from ..placement.tell.written import as_written
from .endpoints import plan_endpoints
from .program_units import Checking, unit_texts
from .schema import Change, ManagedFile
from .unit_file import MANAGED, Sandbox, unit_text

_NO_VALUES: Mapping[str, Any] = MappingProxyType({})
_CHECKING = Checking()
_SANDBOX = Sandbox()


def wanted_files(
    plan: dict[str, Any],
    host: dict[str, Any],
    values: Mapping[str, Any] = _NO_VALUES,
    checking: Checking = _CHECKING,
    sandbox: Sandbox = _SANDBOX,
) -> list[ManagedFile]:
    """Return every file, directory and link that a plan needs on a host, parents first.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        values: the values of variables that the plan hides, by name.
        checking: what is checked between runs.
        sandbox: how the instances are protected.

    Raises:
        ValueError: a value of an environment that no environment file can carry, or one that is not known.
    """
    return (
        _directories(plan, host, checking.metrics_directory)
        + [_instance_release(instance["name"], plan["ollama_version"]) for instance in plan["instances"]]
        + [_file(paths.TEMPLATE_UNIT_FILE, _unit_text(plan, host, sandbox), mode="0644")]
        + [_file(path, text, mode="0644") for path, text in unit_texts(checking).items()]
        + _metrics_settings(checking)
        + [_environment_file(instance, values) for instance in plan["instances"]]
        + [instance_plan_file(plan, instance["name"]) for instance in plan["instances"]]
        + [
            # The command is of the release that is proven.
            _link(paths.CURRENT, _to_release(plan["ollama_version"]), stage="finish"),
            _link(paths.COMMAND, paths.SERVER, stage="finish"),
            _link(paths.PROGRAM_COMMAND, paths.PROGRAM, stage="finish"),
            _plan_file(paths.PLAN, json_text(as_written(secrets.shown_plan(plan))), "0640", "finish"),
            _plan_file(paths.FACTS, json_text(plan_endpoints(plan, host["default_address"])), "0644", "finish"),
        ]
    )


def compare_files(
    plan: dict[str, Any],
    host: dict[str, Any],
    values: Mapping[str, Any] = _NO_VALUES,
    checking: Checking = _CHECKING,
    sandbox: Sandbox = _SANDBOX,
) -> tuple[list[Change], list[ManagedFile]]:
    """Return the changes of files, directories and links, and the files that differ, as module instance_files takes
    them.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        values: the values of variables that the plan hides, by name.
        checking: what is checked between runs.
        sandbox: how the instances are protected.

    Raises:
        ValueError: see wanted_files.
    """
    changes, files = [], []
    for file, reason in _removed(plan, host, checking):
        changes.append(Change("remove", "file", file.path, reason, file.instance))
        files.append(file)
    for wanted in wanted_files(plan, host, values, checking, sandbox):
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


def _unit_text(plan: dict[str, Any], host: dict[str, Any], sandbox: Sandbox) -> str:
    """The text of the template unit. A models directory may be a link of root's into another place."""
    return unit_text(plan["models_dir"], sandbox, host["models_dir"]["path"])


def _to_release(version: str) -> str:
    """What a link in paths.INSTALLATION to a release points to."""
    return "%s/%s" % (posixpath.basename(paths.RELEASES), version)


def _instance_release(name: str, version: str) -> ManagedFile:
    """The link to the release that an instance runs."""
    return _link(paths.instance_release(name), "../" + _to_release(version), instance=name)


def _is_rewritten(wanted: ManagedFile | None, host: dict[str, Any]) -> bool:
    """Whether a file that differs gets another content."""
    if wanted is None:
        return False
    there = host["files"].get(wanted.path) or {}
    return there.get("kind") != "file" or there["digest"] != wanted.digest


def _environment_file(instance: dict[str, Any], values: Mapping[str, Any]) -> ManagedFile:
    """The environment file of an instance, and the record of an adopted Ollama, alone have secret values in them."""
    shown = secrets.shown_environment(instance["environment"])
    filled = secrets.filled(instance["environment"], values)
    return dataclasses.replace(
        _file(
            paths.environment_file(instance["name"]),
            MANAGED + environment_file.environment_file(shown),
            group=paths.USER,
            mode="0640",
        ),
        digest=content_digest(MANAGED + environment_file.environment_file(filled)),
        instance=instance["name"],
    )


def filled_files(files: list[dict[str, Any]], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return files, as module instance_files takes them, with the true values in the environment files among them.

    Args:
        files: of task_loops.work.
        values: the values of variables that the plan hides, by name.

    Raises:
        ValueError: see wanted_files.
    """
    return [_filled_file(file, values) for file in files]


def _filled_file(file: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    path = file["path"]
    if posixpath.dirname(path) != paths.ENVIRONMENT_DIRECTORY or paths.is_instance_plan(path) or "content" not in file:
        return file
    variables = secrets.filled(environment_file.parse(file["content"]), values)
    return dict(file, content=MANAGED + environment_file.environment_file(variables))


def instance_plan_file(plan: dict[str, Any], name: str) -> ManagedFile:
    """Return the file with the plan of one instance as it is configured.

    It is written with the environment file, before the instance starts, and the plan of the host after the proof: what
    is loaded after a start of the instance is never of another plan than its environment.

    Args:
        plan: of module placement_info, or one that was written down.
        name: of the instance.
    """
    written = as_written(secrets.shown_plan(plan))
    kept = {key: written.get(key) for key in ("ollama_version", "gpus")}
    kept["instances"] = [instance for instance in written["instances"] if instance["name"] == name]
    return dataclasses.replace(_plan_file(paths.instance_plan(name), json_text(kept), "0640", "switch"), instance=name)


def _metrics_settings(checking: Checking) -> list[ManagedFile]:
    """What the program of the host reads of the metrics."""
    if not checking.metrics_directory:
        return []
    content = {"directory": checking.metrics_directory, "check_interval_seconds": checking.interval}
    return [_file(paths.METRICS_SETTINGS, json_text(content), mode="0644")]


def _directories(plan: dict[str, Any], host: dict[str, Any], metrics_directory: str) -> list[ManagedFile]:
    models_dir = plan["models_dir"]
    # What exists of these belongs to the administrator and is left as it is.
    others = [posixpath.dirname(paths.FACTS_DIRECTORY), paths.FACTS_DIRECTORY, *_parents(models_dir)]
    if metrics_directory:
        others += [*_parents(metrics_directory), metrics_directory]
    ours = list(dict.fromkeys([paths.STATE_DIRECTORY, models_dir, paths.stores(models_dir)]))
    others = [path for path in dict.fromkeys(others) if path not in ours]
    made = sorted({*host["made"], *(path for path in others + ours if is_absent(path, host))})
    return (
        [_directory(path) for path in (paths.CONFIGURATION, paths.ENVIRONMENT_DIRECTORY, paths.INSTANCE_RELEASES)]
        # Before they are made: a run that is killed in between leaves none that nobody knows of.
        + ([_file(paths.MADE, json_text({"directories": made}), mode="0644", stage="fetch")] if made else [])
        + [_directory(path) for path in others if is_absent(path, host)]
        + [_directory(path) for path in ours]
        + [
            _directory(store, owner=paths.USER, mode="0750")
            for store in [paths.fetch_store(models_dir), *(instance["store"] for instance in plan["instances"])]
        ]
    )


def _parents(path: str) -> list[str]:
    """Parents of a path without the root directory, the highest first."""
    parent = posixpath.dirname(path)
    return [] if parent in ("/", "") else _parents(parent) + [parent]


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


def content_digest(text: str) -> str:
    """Return the SHA-256 of a file's content, as module host_info gives it."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


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


def _directory(path: str, owner: str = "root", mode: str = "0755") -> ManagedFile:
    return ManagedFile(path, "directory", owner=owner, group=owner, mode=mode, stage="fetch")


def _link(path: str, target: str, stage: str = "switch", instance: str = "") -> ManagedFile:
    # A file in the place of a link is replaced: in check mode, an adopted program is still there.
    return ManagedFile(
        path, "link", target=target, owner="root", group="root", force=True, stage=stage, instance=instance
    )


def _plan_file(path: str, content: str, mode: str, stage: str) -> ManagedFile:
    """A file with a plan or a part of it. In diff mode a run says in words what differs; hundreds of lines do not."""
    return dataclasses.replace(_file(path, content, mode=mode, stage=stage), diff=False)


def root_file(path: str, content: str, stage: str) -> ManagedFile:
    """Return a file of root that everybody may read.

    Args:
        path: of the file.
        content: its text.
        stage: when it is put there.
    """
    return _file(path, content, "0644", stage=stage)


def _file(path: str, content: str, mode: str, group: str = "root", stage: str = "switch") -> ManagedFile:
    digest = content_digest(content)
    return ManagedFile(path, "file", content, digest, owner="root", group=group, mode=mode, stage=stage)
