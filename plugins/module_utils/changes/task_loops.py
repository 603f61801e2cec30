# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The changes as the role's tasks take them: one entry for each task, with what it loops over. Pure."""

from __future__ import annotations

from typing import Any

from ..common import paths, secrets
from ..common.service_variables import NETWORK_VARIABLES
from . import order
from .known_servers import on_ports_of_others
from .schema import Change, Changes, ManagedFile, ModelState
from .summary import change_line


def work(changes: Changes, plan: dict[str, Any], servers: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """Return what the tasks of the role loop over; an empty value means that a task has nothing to do.

    Args:
        changes: of compare.
        plan: of module placement_info.
        servers: {instance: server} of module server_info.
        check_mode: leave out what cannot be shown in check mode: services of units that systemd does not know yet.
    """
    stages = {order.stage(change) for change in changes.changes}
    urls = {instance["name"]: instance["url"] for instance in plan["instances"]}
    user = changes.of("create", "user")
    configured = [file for file in changes.files if file.stage == order.CONFIGURE]
    service_changes = [one for kind in ("enable", "start", "restart") for one in changes.of(kind, "instance")]
    in_the_way = on_ports_of_others(plan, servers)
    return {
        "fetch_release": bool(changes.of("fetch", "release")),
        "libraries": bool(changes.of("write", "library")),
        "program": bool(changes.of("write", "program")),
        "adopt": bool(changes.of("adopt", "service") or changes.of("adopt", "command")),
        "adopt_service": [change.what for change in changes.of("adopt", "service")],
        "adopt_command": bool(changes.of("adopt", "command")),
        "stop": [change.what for change in changes.of("stop", "instance")],
        "disable_timer": [change.what for change in changes.of("disable", "timer")],
        "enable_timer": [change.what for change in changes.of("enable", "timer")],
        "create_group": bool(changes.of("create", "group")),
        "create_user": user[0].details if user else {},
        "fetch_files": [_file(file) for file in changes.files if file.stage == order.FETCH],
        "fetch_models": [_model(state) for state in changes.fetched],
        "fetch_environment": _network(plan),
        "send_files": _sent(changes.fetched),
        "stop_fetch_server": "".join(change.what for change in changes.of("stop", "fetch server")),
        "configure_files": [_file(file) for file in configured],
        "finish_files": [_file(file) for file in changes.files if file.stage == "finish"],
        "reload": any(map(_of_systemd, configured)) or any(map(_needs_reload, servers.values())),
        "reread": [name for name, server in servers.items() if _needs_reload(server)],
        "serve": [change_line(change) for change in service_changes],
        "enable": _services(service_changes, ("enable",), check_mode),
        # Only those that are started again with another port.
        "stop_first": [
            change.what for change in service_changes if change.kind == "restart" and change.instance in in_the_way
        ],
        "start": _services(service_changes, ("start", "restart"), check_mode),
        "answer": [
            {"unit": change.what, "url": urls[change.instance]} for change in service_changes if change.kind != "enable"
        ],
        "configure": order.CONFIGURE in stages,
        "models": [_model(state) for state in changes.models] if order.MODELS in stages else [],
        "measure": _measurable(changes, plan),
        "history": next((change.details for change in changes.of("write", "history")), {}),
        "prune_files": [
            {"path": path, "state": "absent"}
            for change in changes.changes
            if change.kind == "prune"
            for path in change.details.get("paths", [change.what])
        ],
        "pending": any(map(_changes_what_is_verified, changes.changes)),
    }


def _changes_what_is_verified(change: Change) -> bool:
    """Whether evidence of before this change says nothing of the host after it: another release, other processes, other
    models. The rest (a mode, a directory, what is pruned at the end) leaves what runs as it is."""
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
    return sorted({state.file["sha256"] for state in states if state.file and state.file["kind"] == "file"})


def _network(plan: dict[str, Any]) -> dict[str, Any]:
    """The variables of the services that say how a server reaches registries; of a secret one the value is hidden."""
    found: dict[str, Any] = {}
    for instance in plan["instances"]:
        found = {**instance["environment"], **found}
    return {name: value for name, value in secrets.shown_environment(found).items() if name in NETWORK_VARIABLES}


def _services(changes: list[Change], kinds: tuple[str, ...], check_mode: bool) -> list[str]:
    return [change.what for change in changes if change.kind in kinds and (change.details["known"] or not check_mode)]


def _of_systemd(file: ManagedFile) -> bool:
    return file.path == paths.TEMPLATE_UNIT_FILE or file.path.startswith(
        tuple(directory + "/" for directory in paths.DROP_IN_DIRECTORIES)
    )


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
