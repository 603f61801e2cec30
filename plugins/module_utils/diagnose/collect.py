# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Gather what a diagnosis is made from. Nothing is loaded or written, and no plan is needed."""

from __future__ import annotations

import functools
import os
from typing import Any

from ..common import paths
from ..common.addresses import as_reached, url
from ..common.gpu_devices import devices_of, with_mig_devices
from ..common.libraries import LibraryMissing
from ..common.service_variables import is_read_by_server
from ..evidence import collect as evidence_of_plan
from ..evidence import engine_log, engines, loaded_models, seen_computing
from ..evidence.checks import check_plan
from ..evidence.concurrency import in_parallel
from ..evidence.planned import plan_problem
from ..evidence.shapes import EngineProcess, Evidence
from ..evidence.start_problems import last_lines
from ..gpu import nvml, sysfs, under_load
from ..gpu.holders import NO_UNIT, tenant
from ..host import device_nodes, gpu_nodes, kernel_log, listeners, proc, programs, systemd
from ..host.json_file import read_object
from ..host.unit_properties import main_pid
from ..ollama.client import OllamaClient, OllamaError
from ..ollama.parameters import of_show
from ..ollama.staleness import trained_context
from . import server_log
from .asking import ask
from .shapes import Engine, HostEvidence, Node, Program, Server

_ANSWER_SECONDS, _NVML_SECONDS = 10.0, 30.0
#: The journal of a process is read from this long before its start.
_BEFORE_SECONDS = 5
_SERVE, _PROGRAM = "serve", "ollama"
_INIT = 1


def collect(seconds: float, plan_path: str = paths.PLAN, asks: bool = False) -> HostEvidence:
    """Return what is seen of this host.

    Args:
        seconds: how long the GPUs are watched.
        plan_path: the plan that is applied. Without one that can be used, no server is planned.
        asks: whether to ask each loaded model one question.

    Raises:
        LibraryMissing: requests is not installed.
    """
    plan = read_object(plan_path) or {}
    plan = {} if plan_problem(plan) else plan
    watched = under_load.watch(seconds, _NVML_SECONDS) if seconds > 0 else {}
    inventory = nvml.read_inventory(_NVML_SECONDS)[0]
    found = _servers(plan, inventory)
    on_gpus = {one["pid"] for gpu in inventory["gpus"] for one in _processes(gpu)}
    return HostEvidence(
        inventory=inventory,
        under_load=watched,
        bound_drivers={address: sysfs.bound_driver(address) for address in inventory["unlisted"]},
        nodes=tuple(Node(**node) for node in gpu_nodes.nvidia_nodes(_minors(inventory))),
        kernel_lines=kernel_log.kernel_lines(),
        servers=tuple(found),
        programs=tuple(
            Program(one["real"], one["libraries"], tuple(one["entries"]))
            for one in programs.ollama_programs([one.executable or "" for one in found if _is_program(one.executable)])
        ),
        memory=sysfs.meminfo(),
        cgroups={pid: proc.cgroup(pid) for pid in sorted(on_gpus)},
        answers=tuple(ask(found)) if asks else (),
        strays=tuple(one for one in _all_engines() if one.parent == _INIT),
        proof=_proof(plan, inventory),
        amd_gpus=tuple(sysfs.amd_gpus()),
        plan=plan,
    )


def _proof(plan: dict[str, Any], inventory: dict[str, Any]) -> Evidence | None:
    """How the host compares with its plan. Nothing is loaded or generated for it."""
    if not plan:
        return None
    try:
        seen = evidence_of_plan.collect(
            plan, load=False, generate=False, timeout=_ANSWER_SECONDS, nvml_timeout=_NVML_SECONDS, inventory=inventory
        )
    except (LibraryMissing, OllamaError):
        return None  # why there is nothing to see is a finding of its own
    seen_computing.recall(seen)
    return check_plan(plan, seen)


def _minors(inventory: dict[str, Any]) -> list[int]:
    return [gpu["minor_number"] for gpu in inventory["gpus"] if gpu.get("minor_number") is not None]


def _nodes(inventory: dict[str, Any]) -> list[str]:
    """The nodes of all GPUs. Which MIG devices a service of others is to use is not known."""
    return device_nodes.own_nodes(inventory["gpus"], [gpu["uuid"] for gpu in inventory["gpus"]])


def _processes(gpu: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for device in with_mig_devices(gpu) for one in device.get("processes") or []]


def _executable(pid: int) -> str | None:
    """The program that a server runs; for a script that, and not its interpreter."""
    found = proc.executable(pid)
    words = [os.path.realpath(word) for word in proc.arguments(pid)[:2] if os.path.basename(word) == _PROGRAM]
    return found if not words or _is_program((found or "").partition(" ")[0]) else words[0]


def _is_program(path: str | None) -> bool:
    return bool(path) and os.path.basename(path or "") == _PROGRAM


# -- servers ----------------------------------------------------------------------------------------------------------


def _servers(plan: dict[str, Any], inventory: dict[str, Any]) -> list[Server]:
    """Servers of units first, then processes that no known unit has."""
    planned = {instance["unit"]: instance for instance in plan.get("instances") or []}
    units = systemd.show(sorted({paths.EXISTING_UNIT, paths.INSTANCE_UNITS, paths.UNTOUCHED_UNIT, *planned}))
    # The server that fetches models is there for a moment, and has no GPU.
    known = {name: properties for name, properties in units.items() if properties.get("LoadState") == "loaded"}
    of_units = {main_pid(properties) for properties in known.values()}
    sockets = listeners.listeners()
    strangers = [pid for pid in _serving() if pid not in of_units and proc.unit_of(pid) != paths.FETCH_UNIT]
    parts: list[tuple[str, int, dict[str, str]]] = [
        (name, main_pid(properties), properties) for name, properties in sorted(known.items())
    ]
    parts += [(_stranger(pid), pid, {}) for pid in strangers]
    found: dict[int, Server] = {}

    def read(place: int, name: str, pid: int, properties: dict[str, str]) -> None:
        found[place] = _server(name, pid, properties, planned.get(name), inventory, sockets)

    in_parallel([functools.partial(read, place, *part) for place, part in enumerate(parts)])
    return [found[place] for place in sorted(found)]


def _stranger(pid: int) -> str:
    """What a server outside the known units is called: its container, pod or unit, or its process."""
    unit = proc.unit_of(pid)
    named = tenant(proc.cgroup(pid), unit)
    return (unit or "process %d" % pid) if named in (NO_UNIT, "unit %s" % unit) else named


def _serving() -> list[int]:
    """Processes `ollama serve`, also those of containers."""
    return [
        pid
        for pid in proc.pids()
        if any(os.path.basename(word) == _PROGRAM for word in proc.arguments(pid)[:2])
        and _SERVE in proc.arguments(pid)[1:3]
    ]


def _server(
    name: str,
    pid: int,
    properties: dict[str, str],
    planned: dict[str, Any] | None,
    inventory: dict[str, Any],
    sockets: list[dict[str, Any]],
) -> Server:
    process = proc.environment(pid) if pid else None
    journal = _journal(name, pid) if properties else []
    address = planned["url"] if planned else _address(pid, sockets)
    version, loaded = _api(address) if pid and address else (None, None)
    own = engines.engines(name, with_mapped=False) if properties else []
    shown = _shown(address, loaded or [])
    return Server(
        name=name,
        planned=planned,
        pid=pid,
        properties=properties,
        process=None if process is None else _relevant(process),
        unit=_relevant(systemd.environment(properties)) if properties.get("FragmentPath") else None,
        executable=_executable(pid) if pid else None,
        url=address,
        version=version,
        loaded=loaded,
        user=proc.credentials(pid) if pid else None,
        closed_nodes=device_nodes.closed_nodes(properties, _nodes(inventory)) if pid and properties else {},
        swapped_bytes=proc.swapped_bytes(pid) if pid else 0,
        log=server_log.read(journal),
        last_lines=tuple(last_lines(journal)),
        engines=tuple(_engine(one, journal, inventory, shown) for one in _of(own, pid)),
    )


def _of(own: list[EngineProcess], pid: int) -> list[EngineProcess]:
    """The engines of a server: those of its unit, and its children wherever they are (in a container)."""
    if not pid:
        return []
    return own and engines.of_server(own, pid) or [one for one in _all_engines() if one.parent == pid]


def _all_engines() -> list[EngineProcess]:
    return engines.engines_among(proc.pids(), with_mapped=False)


def _relevant(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if is_read_by_server(name)}


def _journal(unit: str, pid: int) -> list[str]:
    started = proc.process_start(pid) if pid else None
    return systemd.journal(unit, None if started is None else started - _BEFORE_SECONDS)[0]


def _address(pid: int, sockets: list[dict[str, Any]]) -> str | None:
    """The address at which a process listens, None where it is not seen (in a network of its own)."""
    own = [one for one in sockets if pid and one["pid"] == pid]
    return url(as_reached(own[0]["address"]), own[0]["port"]) if own else None


def _api(address: str) -> tuple[str | None, list[dict[str, Any]] | None]:
    """What the API says: the release and the models that are loaded; None for what it does not tell."""
    client = OllamaClient(address, _ANSWER_SECONDS)
    try:
        return client.version() or None, client.ps()
    except OllamaError:
        return None, None


def _shown(address: str | None, loaded: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """[(answer of /api/show, entry of /api/ps)] of loaded models; {} of one that the server does not describe."""
    client = OllamaClient(address, _ANSWER_SECONDS) if address else None
    return [(_show(client, entry["name"]) if client else {}, entry) for entry in loaded]


def _show(client: OllamaClient, name: str) -> dict[str, Any]:
    try:
        return client.show(name)
    except OllamaError:
        return {}  # such as of a model that was deleted while it is loaded


# -- engines ----------------------------------------------------------------------------------------------------------


def _engine(
    process: EngineProcess,
    journal: list[str],
    inventory: dict[str, Any],
    shown: list[tuple[dict[str, Any], dict[str, Any]]],
) -> Engine:
    started = proc.start_time(process.started)
    lines = engine_log.engine_lines(journal, process.port, process.model_file, started)
    # Which one of two models of the same blob it is, cannot be told.
    own = [one for one in shown if len(shown) == 1 or loaded_models.file_of(one[0]) == process.model_file]
    answer, entry = own[0] if len(own) == 1 else ({}, None)
    return Engine(
        process=process,
        log=engine_log.parse_engine(lines) if lines else None,
        held=_held(process.pid, inventory),
        swapped_bytes=proc.swapped_bytes(process.pid),
        loaded=entry,
        asked_context=of_show(answer.get("parameters")).get("num_ctx"),
        trained_context=trained_context(answer),
    )


def _held(pid: int, inventory: dict[str, Any]) -> dict[str, int] | None:
    """{uuid: bytes} that a process holds by NVML; None where NVML does not tell."""
    if inventory.get("state") != "ok":
        return None
    found: dict[str, int] = {}
    for gpu in inventory["gpus"]:
        if "processes" in (gpu.get("errors") or {}) or "processes" in (gpu.get("unsupported") or []):
            return None
        for device in devices_of(gpu):
            for one in device.get("processes") or []:
                if one["pid"] == pid and one.get("used_bytes") is None:
                    return None
                if one["pid"] == pid:
                    found[device["uuid"]] = found.get(device["uuid"], 0) + one["used_bytes"]
    return found
