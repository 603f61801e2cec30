# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The difference between a host and its plan, as one list in the order in which a run works it off. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..common import paths
from ..common.sizes import gib
from . import firewall
from .configured import configured_plan
from .files import compare_files, written_unit_files
from .history import compare_history, kept_release
from .inputs import adopted_store, carried_variables
from .known_servers import known_servers, with_stored_contents
from .models import compare_models
from .obstacles import file_obstacles, plan_obstacles
from .order import ordered
from .restarts import compare_services
from .schema import Change, Changes, Wanted
from .space import space_obstacles
from .store_obstacles import fetch_store_changes, leftover_changes, store_notes, store_obstacles
from .switches import switches
from .unit_file import Sandbox
from .wanted_files import wanted_files

#: Groups that give access to the GPUs' device nodes on some systems.
_GPU_GROUPS = ("render", "video")
SHELL = "/bin/false"


def compare(
    plan: dict[str, Any], host: dict[str, Any], servers: dict[str, Any], applied: dict[str, Any], wanted: Wanted
) -> Changes:
    """Return what a run does to a host so that it is as the plan says, why, and what stands in the way.

    Args:
        plan: of module placement_info.
        host: of module host_info, read with the plan's models directory.
        servers: {instance: server} of module server_info, read with the plan; {} where nothing is known.
        applied: the plan that was applied before; {} where there is none.
        wanted: what the role's variables say beside the plan.

    Raises:
        ValueError: a value of an environment that no environment file can carry.
    """
    obstacles = plan_obstacles(plan, host, wanted.adopt)
    notes = _notes(plan, host, wanted)
    if not plan["feasible"]:
        return Changes(obstacles=tuple(obstacles), notes=tuple(notes))
    needed = wanted_files(plan, host, wanted.secrets, wanted.checking, _sandbox(plan, wanted))
    obstacles += file_obstacles(needed, plan, host)
    files_changes, files = compare_files(needed, plan, host, wanted.checking)
    before = configured_plan(applied, host)
    # An instance that an unfinished run has not started anew has the port of the applied plan.
    rules, rule_files = firewall.compare_firewall(plan, _instances(applied, before), host, wanted.allow_from)
    obstacles += firewall.obstacles(plan, host, wanted.allow_from)
    notes += firewall.notes(plan, host, wanted.allow_from)
    release = _release(host, wanted)
    written = written_unit_files(files, host, plan)
    if release and wanted.version in host["release"]["complete"]:
        written.setdefault(paths.TEMPLATE_UNIT, []).append("the release %s is installed again" % wanted.version)
    services = compare_services(plan, host, servers, written)
    restarted = {change.instance for change in services if change.kind in ("start", "restart")}
    known = with_stored_contents(known_servers(plan, servers), servers)
    sources = link_stores(plan, host)
    models_changes, models, fetched = compare_models(
        insisting(plan) if wanted.is_rollback else plan, known, before, sources, restarted, host
    )
    if wanted.keep_blobs:
        models = [dataclasses.replace(one, keep_blobs=one.state == "absent") for one in models]
    obstacles += store_obstacles(host)
    notes += store_notes(host, sources, models_changes)
    changes = (
        release
        + _of_the_host(plan, host, wanted)
        + files_changes
        + rules
        + services
        + models_changes
        + compare_history(needed, host, wanted.rolled_back_from)
        + _pruned(plan, host, wanted)
        + fetch_store_changes(plan, host, models_changes)
        + leftover_changes(plan, host, models_changes, wanted.keep_blobs)
    )
    obstacles += space_obstacles(plan, host, changes, fetched, wanted)
    changes += _forgotten(host)
    found = Changes(
        ordered(changes), tuple(obstacles), tuple(notes), tuple(files + rule_files), tuple(models), tuple(fetched)
    )
    return dataclasses.replace(found, switches=switches(plan, host, servers, before, found))


def _sandbox(plan: dict[str, Any], wanted: Wanted) -> Sandbox:
    """How the instances of a plan are protected."""
    guarded = firewall.wanted_firewall(plan["instances"], wanted.allow_from) is not None
    return dataclasses.replace(wanted.sandbox, guarded=guarded, clients=wanted.allow_from if guarded else ())


def _instances(*plans: dict[str, Any]) -> list[dict[str, Any]]:
    return [instance for plan in plans for instance in plan.get("instances") or []]


def _of_the_host(plan: dict[str, Any], host: dict[str, Any], wanted: Wanted) -> list[Change]:
    """Changes beside those of files, services and models."""
    changes = _libraries(host, wanted) + _program(host, wanted) + _adoption(host, wanted) + _stopped(plan, host)
    return changes + _fetch_server(host) + _timer(host, wanted) + _account(host)


def insisting(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a kept plan with models that replace others which the host has under their names by now."""
    instances = [
        dict(instance, models=[dict(model, refresh=True) for model in instance["models"]])
        for instance in plan["instances"]
    ]
    return dict(plan, instances=instances)


def link_stores(plan: dict[str, Any], host: dict[str, Any]) -> list[str]:
    """Return the models directories that models may be linked or copied from, beside those of the plan's instances."""
    models_dir = plan["models_dir"]
    left_behind = host["left_behind"] or {}
    stores = [paths.fetch_store(models_dir), adopted_store(host)]
    stores += [paths.store(models_dir, name) for name in _stale(plan, host, "store")]
    # Stores of the applied plan in another models directory: never deleted.
    stores += left_behind.get("stores") or []
    return list(dict.fromkeys(store for store in stores if store))


def _stale(plan: dict[str, Any], host: dict[str, Any], *traces: str) -> list[str]:
    """Names of instances that the plan does not have and that left one of these traces (keys of host_info's
    `instances`)."""
    planned = {instance["name"] for instance in plan["instances"]}
    return [
        entry["name"]
        for entry in host["instances"]
        if entry["name"] not in planned and any(entry[trace] for trace in traces)
    ]


def _release(host: dict[str, Any], wanted: Wanted) -> list[Change]:
    there = host["release"]["complete"].get(wanted.version)
    if there == wanted.checksum:
        return []
    reason = "It is not installed." if there is None else "It was installed from an archive with another checksum."
    if paths.release(wanted.version) in host["release"]["leftovers"]:
        reason = "A run that was killed left it incomplete."
    return [Change("fetch", "release", wanted.version, reason)]


def _libraries(host: dict[str, Any], wanted: Wanted) -> list[Change]:
    """Copies of the modules' libraries that are put on the host, so that later runs need not send them."""
    changes = []
    for name, digest in wanted.libraries.items():
        there = host["libraries"][name]
        if there["own"] or there["digest"] is not None and digest in (None, there["digest"]):
            continue
        reason = "It is not there." if there["digest"] is None else "The controller has another copy."
        changes.append(Change("write", "library", name, reason))
    return changes


def _program(host: dict[str, Any], wanted: Wanted) -> list[Change]:
    """The program with which the host loads and checks its models without Ansible."""
    there = host["program"]["digest"]
    if wanted.program is None or there == wanted.program:
        return []
    reason = "It is not there, or cannot run." if there is None else "The controller has another one."
    return [Change("write", "program", paths.PROGRAM, reason)]


def _adoption(host: dict[str, Any], wanted: Wanted) -> list[Change]:
    """Changes that take over an Ollama from elsewhere; a run that was killed in between is completed."""
    existing = host["existing"] or {}
    serves = existing.get("active") or existing.get("enabled")
    foreign = host["command"] == "foreign"
    if not wanted.adopt or not (foreign or serves):
        return []
    changes = []
    kept = carried_variables(host, wanted).kept
    if kept and not host["adopted"]:
        changes.append(
            Change(
                "carry_over", "environment", existing["unit"], "Its own variables stay in force: %s." % ", ".join(kept)
            )
        )
    if existing:
        state = "It is running" if existing["active"] else "It starts at boot" if serves else "It is there"
        changes.append(Change("adopt", "service", existing["unit"], "%s, and its GPUs and port are planned." % state))
    if foreign:
        changes.append(
            Change("adopt", "command", paths.COMMAND, "The role's command is put there; remove puts the old one back.")
        )
    return changes


def _stopped(plan: dict[str, Any], host: dict[str, Any]) -> list[Change]:
    return [
        Change("stop", "instance", paths.unit(name), "The plan has no instance %s." % name, name)
        for name in _stale(plan, host, "active", "enabled")
    ]


def _fetch_server(host: dict[str, Any]) -> list[Change]:
    left = host.get("fetch_server")
    return [Change("stop", "fetch server", paths.FETCH_UNIT, "A run that was killed left it.")] if left else []


def _timer(host: dict[str, Any], wanted: Wanted) -> list[Change]:
    """The timer of the checks between runs. It starts only when the plan is written that it checks."""
    timer = host["check_timer"]
    if wanted.checking.interval and not (timer["active"] and timer["enabled"]):
        reason = "It does not %s." % ("run" if timer["enabled"] else "start at boot")
        return [Change("enable", "timer", paths.CHECK_TIMER, reason)]
    if not wanted.checking.interval and (timer["active"] or timer["enabled"]):
        return [Change("disable", "timer", paths.CHECK_TIMER, "ollama_multigpu_check_interval is 0.")]
    return []


def _forgotten(host: dict[str, Any]) -> list[Change]:
    """What a run that was killed has kept of the instances, so that they could go back."""
    there = (host["files"].get(paths.BEFORE) or {}).get("kind") == "file"
    return [Change("remove", "record", paths.BEFORE, "Nothing goes back once the plan is written.")] if there else []


def _account(host: dict[str, Any]) -> list[Change]:
    changes = []
    if paths.USER not in host["groups"]:
        changes.append(Change("create", "group", paths.USER, "It is not there."))
    user = host["user"]
    wanted = {"group": paths.USER, "shell": SHELL}
    groups = [name for name in _GPU_GROUPS if name in host["groups"]]
    reasons = ["It is not there."] if user is None else []
    if user is not None:
        reasons = [
            "Its %s is %s, not %s." % (key, user[key], value) for key, value in wanted.items() if user[key] != value
        ]
        reasons += ["It is not in the group %s." % name for name in groups if name not in user["groups"]]
    if reasons:
        # The home of a user that exists is left: an Ollama that is given back has its models there.
        details = dict(wanted, home=user["home"] if user else paths.HOME, groups=groups)
        kind = "change" if user else "create"
        changes.append(Change(kind, "user", paths.USER, " ".join(reasons), details=details))
    return changes


def _pruned(plan: dict[str, Any], host: dict[str, Any], wanted: Wanted) -> list[Change]:
    return [
        Change("prune", "release", paths.release(version), "%s is the release in use." % wanted.version)
        for version in host["release"]["complete"]
        if version not in (wanted.version, kept_release(host["history"]["plans"], wanted.version))
    ] + [
        Change("prune", "store", paths.store(plan["models_dir"], name), "The plan has no instance %s." % name, name)
        for name in _stale(plan, host, "store")
        if not wanted.keep_blobs
    ]


def _notes(plan: dict[str, Any], host: dict[str, Any], wanted: Wanted) -> list[str]:
    notes = [note for key in ("steps_down", "moved_addresses", "moved_tags") for note in plan.get(key) or []]
    if wanted.adopt and not host["adopted"]:
        notes += ["%s is not carried over: %s." % dropped for dropped in carried_variables(host, wanted).dropped]
    left_behind = host["left_behind"]
    if left_behind:
        before = left_behind["path"].rsplit("/", 1)[0]
        fate = (
            "linked into the new place"
            if left_behind["same_file_system"]
            else "copied into the new place, which is on another file system,"
        )
        notes.append(
            "ollama_multigpu_models_dir was %s and is %s: %s keeps its %s of models, which are %s and not deleted "
            "there. "
            "Delete it when nothing needs it any more."
            % (before, plan["models_dir"], left_behind["path"], gib(left_behind["size_bytes"]), fate)
        )
    return notes
