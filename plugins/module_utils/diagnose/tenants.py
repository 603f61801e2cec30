# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about others that hold memory of the GPUs, and who they are by their control group. Pure."""

from __future__ import annotations

import re
from typing import Any, Iterator

from ..common.sizes import GIB, gib
from .shapes import LIKELY, POSSIBLE, Finding, HostEvidence

#: What llama.cpp leaves free on each GPU (LLAMA_ARG_FIT_TARGET, 1024 MiB): less than that, others may hold.
_MARGIN = GIB
NO_UNIT = "no unit"
_POD = re.compile(
    r"kubepods[^/]*?-?pod(?P<pod>[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})"
)
_POD_DIRECTORY = re.compile(r"/pod(?P<pod>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?:[/.]|$)")
_SLURM = re.compile(r"/job_(?P<job>\d+)(?:/|$)")
_CONTAINER = re.compile(r"(?:/|-)(?P<id>[0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)
_ENGINES = re.compile(r"(?P<engine>docker|libpod|cri-containerd|crio|containerd|lxc)")
_LXC = re.compile(r"/lxc(?:\.payload)?[./](?P<name>[^/\n]+)")


def tenant(cgroup: str, unit: str | None) -> str:
    """Return who a process belongs to, in words: a pod, a Slurm job, a container, or a unit.

    Args:
        cgroup: text of its /proc/PID/cgroup.
        unit: the systemd unit that it is in, None without one.
    """
    pod = _POD.search(cgroup) or _POD_DIRECTORY.search(cgroup)
    if pod:
        return "pod %s" % pod.group("pod").replace("_", "-")
    job = _SLURM.search(cgroup)
    if job:
        return "Slurm job %s" % job.group("job")
    container = _CONTAINER.search(cgroup)
    if container:
        engine = _ENGINES.search(cgroup)
        name = {"libpod": "podman"}.get(engine.group("engine"), engine.group("engine")) if engine else "unknown engine"
        return "container %s (%s)" % (container.group("id")[:12], name)
    lxc = _LXC.search(cgroup)
    if lxc:
        return "container %s (lxc)" % lxc.group("name")
    return "unit %s" % unit if unit else NO_UNIT


def tenant_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield who else holds memory of the GPUs."""
    own = {server.pid for server in evidence.servers} | {
        engine.process.pid for server in evidence.servers for engine in server.engines
    }
    own |= {engine.pid for engine in evidence.strays}
    units = {server.name for server in evidence.servers if server.pid}
    short = _is_short(evidence)
    for gpu in evidence.gpus:
        for device in (gpu.get("mig") or {}).get("devices") or [gpu]:
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
    told = [
        "%s of process %d (%s, %s)"
        % (
            gib(one.get("used_bytes")),
            one["pid"],
            one.get("name") or "unknown",
            tenant(evidence.cgroups.get(one["pid"], ""), one.get("unit")),
        )
        for one in sorted(found, key=lambda one: -(one.get("used_bytes") or 0))
    ]
    return Finding(
        "foreign_tenant",
        "others hold %s of %s: %s%s"
        % (gib(total), device.get("uuid"), "; ".join(told[:5]), "; and %d more" % (len(told) - 5) if told[5:] else ""),
        LIKELY if short else POSSIBLE,
        "Stop what is not needed, or leave the GPU to it. Then load the models again, or run the playbook "
        "gpufleet.ollama.site, which plans around it.",
        "ollama_multigpu_gpus",
        device.get("uuid") or "",
    )
