# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who a process on a GPU belongs to."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.holders import held_by, tenant

ID = "4f" * 32


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


def test_the_control_group_names_more_than_the_unit():
    process = {"pid": 77, "name": "python3", "used_bytes": 30 * 1024**3, "unit": "slurmstepd.scope"}
    job = {77: "0::/system.slice/slurmstepd.scope/job_4242/step_0"}
    assert held_by([process], job) == ["30.0 GiB of process 77 (python3, Slurm job 4242)"]
    assert held_by([process]) == ["30.0 GiB of process 77 (python3, unit slurmstepd.scope)"]
    unknown = {"pid": 8, "name": None, "used_bytes": None, "unit": None}
    assert held_by([unknown]) == ["an unknown amount of process 8 (unknown, no unit)"]
