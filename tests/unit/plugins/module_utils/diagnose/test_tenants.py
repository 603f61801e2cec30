# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Others on the GPUs, and who they are."""

from __future__ import annotations

import pytest

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

OWN = {"pid": ENGINE_PID, "name": "llama-server", "used_bytes": 10 * GIB, "unit": UNIT}


def shared(used, unit="batch.service", cgroup="0::/system.slice/batch.service\n", **changes):
    """A host where another process holds memory of the first GPU."""
    other = {"pid": OTHER_PID, "name": "python3", "used_bytes": used, "unit": unit}
    return host(inventory=inventory(first={"processes": [OWN, other]}), cgroups={OTHER_PID: cgroup}, **changes)


CASES = {"foreign_tenant": (shared(30 * GIB), ["process 4711 (python3, unit batch.service)", "of GPU 0 (RTX"])}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence for word in words) and finding.subject == A


@pytest.mark.parametrize(
    "cgroup, unit, words",
    [
        ("0::/system.slice/docker-%s.scope\n" % ("4f" * 32), "docker-x.scope", "container 4f4f4f4f4f4f (docker)"),
        ("0::/system.slice/slurmstepd.scope/job_4242/step_0/user/task_0\n", "slurmstepd.scope", "Slurm job 4242"),
        (
            "0::/kubepods.slice/kubepods-pod8d2a4f7e_1111_2222_3333_444444444444.slice/cri-containerd-1.scope\n",
            None,
            "pod 8d2a4f7e-1111-2222-3333-444444444444",
        ),
    ],
)
def test_a_tenant_is_named_by_its_control_group(cgroup, unit, words):
    finding = found(shared(30 * GIB, unit=unit, cgroup=cgroup))["foreign_tenant"]
    assert "process 4711 (python3, %s)" % words in finding.evidence


def test_little_memory_of_others_is_well():
    assert not found(shared(GIB))


def test_a_tenant_matters_more_where_memory_lacks():
    assert found(shared(30 * GIB))["foreign_tenant"].confidence == "possible"
    short = (server(engines=(engine(log={"layers": 3, "layers_total": 9}),)),)
    assert found(shared(30 * GIB, servers=short))["foreign_tenant"].confidence == "likely"


def test_further_processes_of_a_server_are_no_tenants():
    assert not found(shared(30 * GIB, unit=UNIT))
