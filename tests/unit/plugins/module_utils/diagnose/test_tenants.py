# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Others on the GPUs, and who they are."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.tenants import tenant

from tests.unit.plugins.module_utils.diagnose.builders import (
    ENGINE_PID,
    GIB,
    OTHER_PID,
    UNIT,
    A,
    engine,
    found,
    host,
    inventory,
    server,
)

ID = "4f" * 32
OWN = {"pid": ENGINE_PID, "name": "llama-server", "used_bytes": 10 * GIB, "unit": UNIT}


def shared(used, unit="batch.service", cgroup="0::/system.slice/batch.service\n", **changes):
    """A host where another process holds memory of the first GPU."""
    other = {"pid": OTHER_PID, "name": "python3", "used_bytes": used, "unit": unit}
    return host(inventory=inventory(first={"processes": [OWN, other]}), cgroups={OTHER_PID: cgroup}, **changes)


CASES = {"foreign_tenant": (shared(30 * GIB), ["30.0 GiB of process 4711 (python3, unit batch.service)", A])}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence for word in words) and finding.subject == A


@pytest.mark.parametrize(
    "cgroup, unit, words",
    [
        ("0::/system.slice/docker-%s.scope\n" % ID, "docker-%s.scope" % ID, "container 4f4f4f4f4f4f (docker)"),
        ("0::/machine.slice/libpod-%s.scope/container\n" % ID, None, "container 4f4f4f4f4f4f (podman)"),
        ("12:devices:/docker/%s\n" % ID, None, "container 4f4f4f4f4f4f (docker)"),
        (
            "0::/kubepods.slice/kubepods-burstable.slice/"
            "kubepods-burstable-pod8d2a4f7e_1111_2222_3333_444444444444.slice/cri-containerd-%s.scope\n" % ID,
            None,
            "pod 8d2a4f7e-1111-2222-3333-444444444444",
        ),
        (
            "4:memory:/kubepods/burstable/pod8d2a4f7e-1111-2222-3333-444444444444/%s\n" % ID,
            None,
            "pod 8d2a4f7e-1111-2222-3333-444444444444",
        ),
        ("0::/system.slice/slurmstepd.scope/job_4242/step_0/user/task_0\n", "slurmstepd.scope", "Slurm job 4242"),
        ("8:memory:/slurm/uid_1000/job_77/step_batch\n", None, "Slurm job 77"),
        ("0::/lxc.payload.trainer/init.scope\n", None, "container trainer (lxc)"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope", "unit session-3.scope"),
        ("", None, "no unit"),
    ],
)
def test_who_a_process_belongs_to(cgroup, unit, words):
    assert tenant(cgroup, unit) == words


def test_little_memory_of_others_is_well():
    assert not found(shared(GIB))


def test_a_tenant_matters_more_where_memory_lacks():
    assert found(shared(30 * GIB))["foreign_tenant"].confidence == "possible"
    short = (server(engines=(engine(log={"layers": 3, "layers_total": 9}),)),)
    assert found(shared(30 * GIB, servers=short))["foreign_tenant"].confidence == "likely"


def test_further_processes_of_a_server_are_no_tenants():
    assert not found(shared(30 * GIB, unit=UNIT))
