# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What module changes_info answers, from as much as is known: the variables, then the host, then the plan and its
servers. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..common import exposure, hardening, networks, paths, secrets
from ..releases import archives
from . import model_lists, rollback
from .compare import compare
from .give_back import adoption_record, give_back
from .inputs import plan_input
from .obstacles import host_obstacles, unknown_addresses
from .program_units import Checking
from .role_variables import PREFIX, name_problems, settings_problems
from .schema import Changes, Wanted
from .summary import summary_lines
from .task_loops import change_data, work
from .unit_file import Sandbox


def answer(options: dict[str, Any], name: str, check_mode: bool = False) -> dict[str, Any]:
    """Return the result of module changes_info.

    Args:
        options: of the module; `host` and `plan` are None where they are not known yet.
        name: the host's name, for sentences.
        check_mode: leave out what cannot be shown in check mode.
    """
    settings, host, plan = options["settings"], options["host"], options["plan"]
    wanted_plan = options.get("rollback_to")
    problems = _settings_problems(options, is_planned=wanted_plan is None)
    if problems or host is None:
        return _result(problems)
    if wanted_plan is not None and plan is None:
        return _way_back(options, name)
    release = _release(settings, host)
    wanted = Wanted(
        version=str(settings[PREFIX + "version"]),
        checksum=release["checksum"],
        models_dir=settings[PREFIX + "models_dir"].rstrip("/") or "/",
        adopt=settings[PREFIX + "existing"] == "adopt",
        keep_blobs=settings.get(PREFIX + "keep_blobs") is True,
        listen_address=settings[PREFIX + "listen_address"],
        libraries=options["libraries"],
        program=options.get("program"),
        checking=_checking(settings),
        sandbox=_sandbox(settings),
        allow_from=networks.canonical(networks.listed(settings.get(PREFIX + "allow_from"))),
        acknowledged=exposure.acknowledged(settings.get(PREFIX + "acknowledged")),
        is_rollback=wanted_plan is not None,
        rolled_back_from=rollback.choose(host, wanted_plan, name).rolled_back_from if wanted_plan is not None else None,
        secrets={
            **(options.get("secrets") or {}),
            **(settings.get(PREFIX + "environment") or {}),
            **(settings.get(PREFIX + "environment_unchecked") or {}),
        },
    )
    if plan is None:
        problems = host_obstacles(host, wanted, name, tuple(archives.CHECKSUMS))
        result = dict(_result(problems), release=release)
        return result if problems else dict(result, plan_input=dataclasses.asdict(plan_input(host, wanted)))
    servers = options["servers"] or {}
    try:
        applied = options["applied_plan"] or host["applied_plan"]
        changes = compare(plan, host, servers, applied, wanted)
    except ValueError as error:
        changes = Changes(obstacles=(str(error),))
    unknown = unknown_addresses(plan, host, name) if settings.get(PREFIX + "endpoints_file") else []
    return dict(
        _result([*changes.obstacles, *unknown]),
        release=release,
        changes=[change_data(change) for change in changes.changes],
        summary=summary_lines(changes),
        work=dict(work(changes, plan, servers), give_back={} if check_mode else give_back(host, plan, changes)),
        adoption_record=adoption_record(host),
    )


def _settings_problems(options: dict[str, Any], is_planned: bool) -> list[str]:
    """Problems of the role's variables. A kept plan has its own models."""
    settings, lists = options["settings"], options.get("model_lists") or {}
    names = [name for name in options["names"] if not model_lists.is_list_name(name)]
    if options.get("names_only"):
        return name_problems(names, settings)
    if is_planned:
        own = lists.get(model_lists.MODELS)
        others = {name: value for name, value in lists.items() if name != model_lists.MODELS}
        return model_lists.merge_problems(own, others) or settings_problems(settings, names)
    others = {name: value for name, value in settings.items() if name != model_lists.MODELS}
    return settings_problems(others, [name for name in names if name != model_lists.MODELS])


def _way_back(options: dict[str, Any], name: str) -> dict[str, Any]:
    """What can be said of a rollback: which plan it leads to, and, once that is read, what stands in the way and with
    which variables it is applied."""
    settings, host, plan = options["settings"], options["host"], options.get("kept_plan")
    target = rollback.choose(host, options["rollback_to"], name)
    found: dict[str, Any] = {"number": target.number, "rolled_back_from": target.rolled_back_from, "note": target.note}
    if target.number is None or plan is None:
        return dict(_result(list(target.obstacles)), rollback=found)
    record = next(entry for entry in host["history"]["plans"] if entry["number"] == target.number)
    checksum = rollback.checksum_of(plan, record, host, settings)
    problems = rollback.obstacles(plan, record, options.get("gpu_inventory") or {}, checksum, settings)
    found["settings"] = rollback.settings_of(plan, checksum, settings)
    return dict(_result(problems), rollback=found)


def _result(obstacles: list[str]) -> dict[str, Any]:
    return {"changed": False, "obstacles": obstacles, "msg": " ".join(obstacles)}


def _checking(settings: dict[str, Any]) -> Checking:
    interval = settings.get(PREFIX + "check_interval")
    return Checking(
        interval=Checking.interval if interval in (None, "") else int(interval),
        heal=settings.get(PREFIX + "heal") is True,
        accept_unproven=settings.get(PREFIX + "unproven") == "accept",
        metrics_directory=paths.directory(settings.get(PREFIX + "metrics_directory")),
    )


def _sandbox(settings: dict[str, Any]) -> Sandbox:
    return Sandbox(
        level=hardening.level_of(settings.get(PREFIX + "sandbox", hardening.STRICT)) or hardening.STRICT,
        listen_address=settings[PREFIX + "listen_address"],
        peers=networks.canonical(networks.listed(settings.get(PREFIX + "peers"))),
        devices=networks.listed(settings.get(PREFIX + "devices")),
    )


def _release(settings: dict[str, Any], host: dict[str, Any]) -> dict[str, str]:
    """Where the release comes from, without credentials, and goes to; the architecture is empty where Ollama has no
    archive for the host's."""
    architecture = archives.ARCHITECTURES.get(host["architecture"], "")
    version = str(settings[PREFIX + "version"])
    url = archives.archive_url(secrets.shown_address(settings[PREFIX + "release_url"]), architecture)
    given = secrets.shown_address(settings.get(PREFIX + "release_checksum") or "")
    return {
        "version": version,
        "directory": paths.release(version),
        "archive": archives.archive_name(architecture),
        "url": url,
        "checksum": archives.checksum(version, architecture, given, url),
    }
