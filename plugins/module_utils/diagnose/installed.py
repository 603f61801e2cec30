# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about what is installed and what runs: programs, libraries, servers, engines without a server. Pure."""

from __future__ import annotations

from typing import Iterator

from ..common import paths, secrets
from ..evidence import start_problems
from ..evidence.shapes import DELETED
from ..releases import faults
from .kinds import remedy_of
from .shapes import CERTAIN, LIKELY, POSSIBLE, Finding, HostEvidence, Program, Server
from .visible import release

#: What only releases before 0.30 have in lib/ollama: 0.5.7 and earlier runners, then libraries of CUDA 11.
_OF_OLD_RELEASES = ("runners", "cuda_v11")
_ENGINE = "llama-server"
_LLAMA_SERVER = (0, 30, 0)


def installation_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what is wrong with programs, libraries and services."""
    yield from _programs(evidence)
    yield from _servers(evidence)
    for server in evidence.servers:
        yield from _libraries(server, evidence)
        yield from _failed(server)
        yield from _faults(server, evidence)
        if (server.executable or "").endswith(DELETED):
            path = (server.executable or "")[: -len(DELETED)]
            yield Finding(
                "program_replaced",
                "%s still runs the file that was at %s before it was replaced" % (server.name, path),
                CERTAIN,
                remedy_of("program_replaced", SERVICE=server.name),
                subject=server.name,
            )
    for engine in evidence.strays:
        yield Finding(
            "engine_left_behind",
            "process %d serves %s, and the server that started it is gone" % (engine.pid, engine.model_file),
            CERTAIN,
            remedy_of("engine_left_behind", PID=engine.pid),
        )


def _programs(evidence: HostEvidence) -> Iterator[Finding]:
    foreign = [one for one in evidence.programs if not one.path.startswith(paths.INSTALLATION + "/")]
    if len(foreign) > 1:
        yield Finding(
            "two_programs",
            "Ollama is installed as %s: an update changes only one of them" % " and ".join(one.path for one in foreign),
            LIKELY,
            "Find out which one the service runs (systemctl cat), and remove the other one and its directory "
            "lib/ollama.",
        )
    for program in evidence.programs:
        old = [name for name in _OF_OLD_RELEASES if name in program.entries]
        if old and _ENGINE in program.entries:
            yield Finding(
                "mixed_libraries",
                "%s holds %s of an old release and %s of 0.30 or later" % (program.libraries, ", ".join(old), _ENGINE),
                CERTAIN,
                remedy_of("mixed_libraries", DIRECTORY=program.libraries),
            )


def _libraries(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    found, program = release(server), _program_of(server, evidence)
    if found is None or program is None or not evidence.gpus or not server.wants_gpus or not program.entries:
        return
    if found.numbers >= _LLAMA_SERVER and not any(name.startswith("cuda_") for name in program.entries):
        yield Finding(
            "cuda_library_missing",
            "%s runs Ollama %s, and there is no directory cuda_v* in %s"
            % (server.name, server.version, program.libraries),
            CERTAIN,
            "Install the whole release again: its archive contains the CUDA libraries.",
            subject=server.name,
        )


def _program_of(server: Server, evidence: HostEvidence) -> Program | None:
    return next((one for one in evidence.programs if one.path == server.executable), None)


def _servers(evidence: HostEvidence) -> Iterator[Finding]:
    running = [server for server in evidence.servers if server.pid and server.wants_gpus]
    foreign = [server for server in running if not server.planned]
    # Servers whose variables give each its own GPUs do no harm. Whether that is so is left to the reader.
    if not foreign or len(running) < 2 or not evidence.gpus:
        return
    told = ["%s (%s)" % (one.name, one.url or one.executable or "process %d" % one.pid) for one in running]
    yield Finding(
        "two_servers",
        "%d servers run: %s. Each plans its models without those of the others" % (len(running), ", ".join(told)),
        LIKELY,
        "Stop and disable the servers that you do not need, or give each its own GPUs: CUDA_VISIBLE_DEVICES with "
        "UUIDs.",
        "ollama_multigpu_existing",
    )


def _failed(server: Server) -> Iterator[Finding]:
    if not start_problems.has_ended(server.properties, None) or not _should_run(server):
        return
    line, remedy = start_problems.cause(server.name, server.properties, server.last_lines)
    seen = secrets.without_credentials(line).rstrip(".") if line else "its journal is empty"
    state, result = server.properties.get("ActiveState"), server.properties.get("Result") or "unknown"
    if (state, result) == ("inactive", "success"):
        seen = "it was stopped, or it ended without an error"
        remedy = "Start it: systemctl start %s. %s" % (server.name, remedy)
    seen = "%s is %s (%s): %s" % (server.name, state, result, seen)
    yield Finding("service_failed", seen, CERTAIN, remedy, subject=server.name)


def _should_run(server: Server) -> bool:
    return (
        server.planned is not None
        or server.properties.get("ActiveState") == "failed"
        or server.properties.get("SubState") == "auto-restart"
    )


def _faults(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    """Known faults that later releases do not have."""
    found = release(server)
    if found is None or not server.pid or not evidence.gpus:
        return
    latest = {name for name, dummy, last, *_more in faults.FAULTS if last is None}
    for fault in faults.known_faults(found.numbers):
        if fault["name"] not in latest:
            yield Finding(
                "known_fault",
                "Ollama %s of %s: %s" % (server.version, server.name, fault["text"]),
                POSSIBLE,
                "Use a later release, or this workaround: %s." % fault["remedy"],
                "ollama_multigpu_version",
                server.name,
            )
