# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The changes as the role's tasks take them: one entry for each task, with what it loops over. Pure."""

from __future__ import annotations

from typing import Any

from ..common import paths, secrets
from ..common.service_variables import NETWORK_VARIABLES
from . import order
from .schema import Change, Changes, ManagedFile, ModelState, Switch
from .summary import change_line

_STAGES_OF_FILES = (order.FETCH, order.GUARD, order.FINISH)


def work(changes: Changes, plan: dict[str, Any], servers: dict[str, Any]) -> dict[str, Any]:
    """Return what the tasks of the role loop over; an empty value means that a task has nothing to do.

    Args:
        changes: of compare.
        plan: of module placement_info.
        servers: {instance: server} of module server_info.
    """
    user = changes.of("create", "user") or changes.of("change", "user")
    files = {stage: [_file(file) for file in changes.files if file.stage == stage] for stage in _STAGES_OF_FILES}
    return {
        "fetch_release": bool(changes.of("fetch", "release")),
        "libraries": bool(changes.of("write", "library")),
        "program": bool(changes.of("write", "program")),
        "disable_timer": [change.what for change in changes.of("disable", "timer")],
        "enable_timer": [change.what for change in changes.of("enable", "timer")],
        "create_group": bool(changes.of("create", "group")),
        "user": user[0].details if user else {},
        "fetch_files": files[order.FETCH],
        "fetch_models": [_model(state) for state in changes.fetched],
        "fetch_environment": _network(plan),
        "send_files": _sent(changes.fetched),
        "stop_fetch_server": "".join(change.what for change in changes.of("stop", "fetch server")),
        "adopt": bool(changes.of("adopt", "service") or changes.of("adopt", "command")),
        "firewall_files": files[order.GUARD],
        "load_firewall": bool(changes.of("load", "firewall")),
        "openings": _openings([*changes.of("open", "firewall"), *changes.of("close", "firewall")]),
        "narrow_firewall": bool(changes.of("narrow", "firewall")),
        "openings_after": _openings(changes.of("narrow", "firewall")),
        "remove_firewall": bool(changes.of("remove", "firewall")),
        "switches": [_switch(switch, servers) for switch in changes.switches],
        "measure": _measurable(changes, plan),
        "adopt_command": bool(changes.of("adopt", "command")),
        "finish_files": files[order.FINISH] + _forgotten(changes),
        "history": next((change.details for change in changes.of("write", "history")), {}),
        "prune_models": [_model(state) for state in changes.models if state.state == "absent"],
        "prune_files": [
            {"path": path, "state": "absent"}
            for change in changes.changes
            if change.kind == "prune"
            for path in change.details.get("paths", [change.what])
        ],
        "pending": any(map(_changes_what_is_verified, changes.changes)),
    }


def _openings(changes: list[Change]) -> dict[str, Any]:
    """The options of module firewall_openings, {} where it has nothing to do."""
    return next((change.details for change in changes if change.details), {})


def _forgotten(changes: Changes) -> list[dict[str, Any]]:
    """What is kept of the instances so that they can go back goes once the plan is written."""
    made = changes.switches or changes.of("remove", "record")
    return [{"path": paths.BEFORE, "state": "absent"}] if made else []


def _switch(switch: Switch, servers: dict[str, Any]) -> dict[str, Any]:
    """A switch with the option names of module instance_switch, its `title` and `why` it is made, in words."""
    enabled = [change.instance for change in switch.changes if (change.kind, change.object) == ("enable", "instance")]
    stopped = [paths.instance_of(unit) or unit for unit in switch.stopped]
    return {
        "title": ", ".join([*switch.instances, *stopped]) or "all instances",
        "why": [change_line(change) for change in switch.changes],
        "instances": list(switch.instances),
        "stop": list(switch.stopped),
        "restart": list(switch.restarted),
        "enable": enabled,
        "reload": any(map(_of_systemd, switch.files))
        or any(_needs_reload(servers.get(name) or {}) for name in switch.instances),
        "files": [_file(file) for file in switch.files],
        "models": [_model(state) for state in switch.models],
    }


def _changes_what_is_verified(change: Change) -> bool:
    """Whether evidence of before this change says nothing of the host after it: another release, other processes, other
    models, other clients. The rest (a mode, a directory, what is pruned at the end) leaves what runs as it is."""
    if change.object == "firewall":
        return change.kind in ("load", "open")
    return change.object in ("release", "model") and change.kind != "prune" or change.kind in ("start", "restart")


def _measurable(changes: Changes, plan: dict[str, Any]) -> bool:
    """Whether the engine can say more than the plan knows once release and models are there: something new is brought,
    and not all figures are the engine's already."""
    brought = any(
        change.object in ("model", "release") and change.kind in ("fetch", "copy", "link", "create")
        for change in changes.changes
    )
    bases = {model["predicted"].get("basis") for instance in plan["instances"] for model in instance["models"]}
    return brought and bases != {"measured"}


def _sent(states: tuple[ModelState, ...]) -> list[str]:
    """SHA-256 of the files of the controller that the host needs. Where they are there, only the controller says."""
    files = [one for state in states for one in [state.file, *state.adapters] if one]
    return sorted({one["sha256"] for one in files if one["kind"] == "file"})


def _network(plan: dict[str, Any]) -> dict[str, Any]:
    """The variables of the services that say how a server reaches registries; of a secret one the value is hidden."""
    found: dict[str, Any] = {}
    for instance in plan["instances"]:
        found = {**instance["environment"], **found}
    return {name: value for name, value in secrets.shown_environment(found).items() if name in NETWORK_VARIABLES}


def _of_systemd(file: ManagedFile) -> bool:
    return file.path.startswith(tuple(directory + "/" for directory in paths.DROP_IN_DIRECTORIES))


def _needs_reload(server: dict[str, Any]) -> bool:
    return bool((server.get("unit") or {}).get("needs_daemon_reload"))


def _file(file: ManagedFile) -> dict[str, Any]:
    """A file with the option names of module instance_files; what is None is left out."""
    named = {
        "path": file.path,
        "state": file.state,
        "content": file.content,
        "target": file.target,
        "owner": file.owner,
        "group": file.group,
        "mode": file.mode,
        "backup": file.backup,
        "diff": file.diff,
        "force": file.force,
    }
    return {name: value for name, value in named.items() if value is not None}


def _model(state: ModelState) -> dict[str, Any]:
    """A model with the option names of module instance_models; what says nothing is left out."""
    named = {
        "instance": state.instance,
        "name": state.name,
        "state": state.state,
        "url": state.url,
        "store": state.store,
        "link_from": list(state.link_from),
        "from": state.base,
        "draft": state.draft,
        "same_as": state.same_as,
        "aliases": list(state.aliases),
        "digest": state.digest,
        "planned_digest": state.planned_digest,
        "file": state.file,
        "adapters": state.adapters,
        "headers": state.headers,
        "insecure": state.insecure,
        "parameters": state.parameters,
        "system": state.system,
        "template": state.template,
        "keep_alive": str(state.keep_alive),
        "keep_blobs": state.keep_blobs,
        "staged_as": state.staged_as,
    }
    return {name: value for name, value in named.items() if value}


def change_data(change: Change) -> dict[str, Any]:
    """A change as data that leaves the product."""
    return {
        "kind": change.kind,
        "object": change.object,
        "what": change.what,
        "instance": change.instance,
        "reason": change.reason,
        "stage": order.stage(change),
        "details": change.details,
    }
