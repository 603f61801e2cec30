# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What models leave on the GPUs of a host, and which GPUs take a further one."""

from __future__ import annotations

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, plan, wanted


def test_a_gpu_in_exclusive_mode_serves_one_model():
    inventory = hosts.inventory(hosts.A6000, hosts.A6000, compute_mode="exclusive_process")
    result = plan(inventory, wanted("llama3.1-8b"), wanted("qwen3-8b"), wanted("qwen3-0.6b"))
    assert not result["feasible"]
    assert plan(inventory, wanted("llama3.1-8b"), wanted("qwen3-8b"))["feasible"]


def test_a_mig_slice_is_an_instance_and_never_part_of_a_split():
    inventory = hosts.inventory((81559, 81000))
    slices = [
        {
            "uuid": "MIG-%08x-0000" % number,
            "name": "3g.40gb",
            "memory": {"total_bytes": 40000 * MIB, "free_bytes": 39000 * MIB},
        }
        for number in (1, 2)
    ]
    inventory["gpus"][0]["mig"] = {"mode": "enabled", "devices": slices}
    result = plan(inventory, wanted("llama3.1-8b"))
    assert [instance["environment"]["CUDA_VISIBLE_DEVICES"] for instance in result["instances"]] == [
        "MIG-00000001-0000",
        "MIG-00000002-0000",
    ]
    assert len({instance["name"] for instance in result["instances"]}) == 2
    assert not plan(inventory, wanted("llama3.3-70b"))["feasible"]


def test_the_headroom_of_one_model_is_not_given_to_another():
    one = hosts.inventory(hosts.A6000)
    roomy = wanted("llama3.1-8b", headroom_bytes=24 * GIB)
    assert plan(one, roomy, wanted("qwen3-14b"))["feasible"]
    assert not plan(one, roomy, wanted("qwen3-32b"))["feasible"]
    assert plan(one, wanted("llama3.1-8b"), wanted("qwen3-32b"))["feasible"]
