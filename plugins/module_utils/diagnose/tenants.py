# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about others that hold memory of the GPUs. Pure."""

from __future__ import annotations

from typing import Any, Iterator

from ..common import paths
from ..common.gpu_devices import devices_of
from ..common.sizes import GIB, gib
from ..gpu.holders import held_by
from .shapes import LIKELY, POSSIBLE, Finding, HostEvidence

#: What llama.cpp leaves free on each GPU (LLAMA_ARG_FIT_TARGET, 1024 MiB): less than that, others may hold.
_MARGIN = GIB


def tenant_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield who else holds memory of the GPUs."""
    own = {server.pid for server in evidence.servers} | {
        engine.process.pid for server in evidence.servers for engine in server.engines
    }
    own |= {engine.pid for engine in evidence.strays}
    # A benchmark stops its server, and starts the instances, by itself.
    units = {server.name for server in evidence.servers if server.pid} | {paths.UNTOUCHED_UNIT}
    short = _is_short(evidence)
    for gpu in evidence.gpus:
        for device in devices_of(gpu):
            found = [
                one for one in device.get("processes") or [] if one["pid"] not in own and one.get("unit") not in units
            ]
            total = sum(one.get("used_bytes") or 0 for one in found)
            if total > _MARGIN:
                yield _finding(device, found, total, evidence, short)


def _is_short(evidence: HostEvidence) -> bool:
    """Whether a model lacks GPU memory."""
    logs = [engine.log for server in evidence.servers for engine in server.engines if engine.log]
    return any("out_of_gpu_memory" in server.log.problems for server in evidence.servers) or any(
        log.layers is not None and log.layers < (log.layers_total or 0) for log in logs
    )


def _finding(
    device: dict[str, Any], found: list[dict[str, Any]], total: int, evidence: HostEvidence, short: bool
) -> Finding:
    told = held_by(sorted(found, key=lambda one: -(one.get("used_bytes") or 0)), evidence.cgroups)
    return Finding(
        "foreign_tenant",
        "other processes hold %s of %s: %s%s"
        % (gib(total), device.get("uuid"), "; ".join(told[:5]), "; and %d more" % (len(told) - 5) if told[5:] else ""),
        LIKELY if short else POSSIBLE,
        "Stop the processes that you do not need and load the models again. Or leave the GPU to them, and run the "
        "playbook gpufleet.ollama.site: it plans with the memory that is left.",
        "ollama_multigpu_gpus",
        device.get("uuid") or "",
    )
