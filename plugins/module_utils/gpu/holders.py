# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who holds memory of a GPU, in words: a process, and what it belongs to by its control group. Pure."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional, Sequence

from ..common.sizes import gib

NO_UNIT = "no unit"
_POD = re.compile(
    r"kubepods[^/]*?-?pod(?P<pod>[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})"
)
_POD_DIRECTORY = re.compile(r"/pod(?P<pod>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?:[/.]|$)")
_SLURM = re.compile(r"/job_(?P<job>\d+)(?:/|$)")
_CONTAINER = re.compile(r"(?:/|-)(?P<id>[0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)
_ENGINES = re.compile(r"(?P<engine>docker|libpod|cri-containerd|crio|containerd|lxc)")
_LXC = re.compile(r"/lxc(?:\.payload)?[./](?P<name>[^/\n]+)")


def tenant(cgroup: str, unit: Optional[str]) -> str:
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


def holder(process: Mapping[str, Any], cgroups: Optional[Mapping[int, str]] = None) -> str:
    """Return a process in words: "process 77 (python3, Slurm job 42)".

    Args:
        process: of the fact `gpu_inventory`.
        cgroups: {pid: text of /proc/PID/cgroup}, as far as they were read.
    """
    pid = process.get("pid")
    belongs = tenant((cgroups or {}).get(pid or 0, ""), process.get("unit"))
    return "process %s (%s, %s)" % (pid, process.get("name") or "unknown", belongs)


def held_by(processes: Sequence[Mapping[str, Any]], cgroups: Optional[Mapping[int, str]] = None) -> list[str]:
    """Return a phrase for each process: "30.0 GiB of process 77 (python3, Slurm job 42)"."""
    return ["%s of %s" % (gib(one.get("used_bytes"), "an unknown amount"), holder(one, cgroups)) for one in processes]
