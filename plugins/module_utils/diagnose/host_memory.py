# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the host's own memory: swap, processes that were ended, the page cache. Pure."""

from __future__ import annotations

import re
from typing import Iterator

from ..common.sizes import GIB, MIB, gib
from .shapes import CERTAIN, LIKELY, Finding, HostEvidence

#: As in gpu/host_memory.py: what holds less is not worth a line.
_LEAST_BYTES = 64 * MIB
#: What llama.cpp leaves free on each GPU (LLAMA_ARG_FIT_TARGET, 1024 MiB).
_MARGIN = GIB
#: "Out of memory" is that of the host, "Memory cgroup out of memory" that of a unit, a container or a pod (Linux,
#: mm/oom_kill.c; "Kill process" before 5.1).
_KILLED = re.compile(r"[Oo]ut of memory: Kill(?:ed)? process \d+ \((?:ollama|llama-server)[^)]*\)")


def memory_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what the host's memory does to servers and engines."""
    for server in evidence.servers:
        swapped = {"the server": server.swapped_bytes, **{one.name: one.swapped_bytes for one in server.engines}}
        told = ["%s of %s" % (gib(size), name) for name, size in swapped.items() if size >= _LEAST_BYTES]
        if told:
            yield Finding(
                "swapped",
                "of %s, these parts are in swap: %s" % (server.name, ", ".join(told)),
                CERTAIN,
                "Free memory of the host, then restart the service. To prevent it, lower vm.swappiness or remove the "
                "swap.",
                subject=server.name,
            )
        if server.properties.get("Result") == "oom-kill":
            yield _killed("%s was killed because memory ran out (Result=oom-kill)" % server.name, server.name)
    for line in evidence.kernel_lines or []:
        match = _KILLED.search(line)
        if match:
            yield _killed("the kernel has logged: %s" % line.strip(), "")
    yield from _page_cache(evidence)


def _killed(seen: str, subject: str) -> Finding:
    return Finding(
        "killed_for_memory",
        seen,
        CERTAIN,
        "Give the host more memory, keep fewer layers on the CPU, or raise the memory limit of its unit (MemoryMax) or "
        "container.",
        subject=subject,
    )


def _page_cache(evidence: HostEvidence) -> Iterator[Finding]:
    """A GPU that shares the host's memory counts what is free, and the page cache is not."""
    shared = [gpu["uuid"] for gpu in evidence.gpus if (gpu.get("memory") or {}).get("kind") == "unified"]
    free, available = evidence.memory.get("MemFree"), evidence.memory.get("MemAvailable")
    spilled = [
        engine.name
        for server in evidence.servers
        for engine in server.engines
        if engine.log and engine.log.layers is not None and engine.log.layers < (engine.log.layers_total or 0)
    ]
    if shared and spilled and free is not None and available is not None and available - free > _MARGIN:
        yield Finding(
            "page_cache",
            "%s shares the memory of the host, of which only %s is free, and %s without the page cache; some layers "
            "of %s are on the CPU" % (shared[0], gib(free), gib(available), ", ".join(spilled)),
            LIKELY,
            "Empty the page cache (sysctl vm.drop_caches=3), and load the model again.",
            subject=shared[0],
        )
