# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The files, directories and links that a plan needs on a host, with their contents. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..common import environment_file, paths, secrets
from ..common.json_text import json_text
from ..common.managed import MANAGED
from ..placement.tell.written import as_written
from .endpoints import plan_endpoints
from .files import is_absent
from .program_units import Checking, unit_texts
from .schema import ManagedFile
from .unit_file import Sandbox, unit_text

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


def _unit_text(plan: dict[str, Any], host: dict[str, Any], sandbox: Sandbox) -> str:
    """The text of the template unit. A models directory may be a link of root's into another place."""
    found = host["models_dir"]
    return unit_text(plan["models_dir"], sandbox, found["path"], found.get("homes", ()))


def _to_release(version: str) -> str:
    """What a link in paths.INSTALLATION to a release points to."""
    return "%s/%s" % (posixpath.basename(paths.RELEASES), version)


def _instance_release(name: str, version: str) -> ManagedFile:
    """The link to the release that an instance runs."""
    return _link(paths.instance_release(name), "../" + _to_release(version), instance=name)


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


def content_digest(text: str) -> str:
    """Return the SHA-256 of a file's content, as module host_info gives it."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


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
