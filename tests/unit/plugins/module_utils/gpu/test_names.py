# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What people call a GPU."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.names import (
    gpu_names,
    number_of,
    short_name,
    shown_numbers,
    unnamed,
    with_names,
)

A, B, M = "GPU-11111111-a", "GPU-11111111-ab", "MIG-2222"
MIG = {"devices": [{"uuid": M, "name": "A100 MIG 3g.20gb", "gpu_instance_id": 2}]}
FACTS = {
    "gpus": [
        {"uuid": A, "index": 0, "name": "NVIDIA RTX A6000", "mig": {"devices": []}},
        {"uuid": B, "index": 1, "name": "NVIDIA A100", "mig": MIG},
        {"uuid": None, "index": 2, "name": None},
    ]
}


def test_a_gpu_is_its_number_and_its_name():
    assert gpu_names(FACTS) == {A: "GPU 0 (RTX A6000)", B: "GPU 1 (A100)", M: "GPU 1, MIG device 2 (A100 MIG 3g.20gb)"}
    assert short_name("NVIDIA GeForce RTX 4090") == "RTX 4090" and gpu_names({}) == {}


def test_a_plan_has_the_numbers_of_the_instances_and_knows_what_is_gone():
    plan = {
        "gpus": [{"uuid": A, "number": 5, "name": "NVIDIA RTX A6000"}],
        "left_out": [{"uuid": "GPU-gone", "number": 6, "name": "NVIDIA GeForce RTX 4090"}],
    }
    names = gpu_names(FACTS, plan)
    assert names[A] == "GPU 5 (RTX A6000)" and names[B] == "GPU 1 (A100)"
    assert names["GPU-gone"] == "GPU 6 (RTX 4090, GPU-gone)", "another GPU may have the number of one that is gone"


def test_two_gpus_never_have_one_name():
    """A GPU that is new has NVML's index, which may be the number that the plan gave to another one."""
    plan = {"gpus": [{"uuid": A, "number": 1, "name": "NVIDIA RTX A6000"}]}
    names = gpu_names(FACTS, plan)
    assert names[A] == "GPU 1 (RTX A6000, %s)" % A and names[B] == "GPU 1 (A100, %s)" % B
    assert names[M] == "GPU 1, MIG device 2 (A100 MIG 3g.20gb)", "no other device has this name"
    assert gpu_names(FACTS, with_uuids=True)[A] == "GPU 0 (RTX A6000, %s)" % A


def test_mig_devices_of_a_plan_keep_their_number_and_have_that_of_the_gpu():
    other = "MIG-3333"
    slices = {"devices": [*MIG["devices"], {"uuid": other, "name": "A100 MIG 3g.20gb", "gpu_instance_id": 3}]}
    facts = {"gpus": [{"uuid": B, "index": 1, "name": "NVIDIA A100", "mig": slices}]}
    names = gpu_names(facts, {"gpus": [{"uuid": one, "number": 4, "name": "A100 MIG 3g.20gb"} for one in (M, other)]})
    assert names == {
        B: "GPU 4 (A100)",
        M: "GPU 4, MIG device 2 (A100 MIG 3g.20gb)",
        other: "GPU 4, MIG device 3 (A100 MIG 3g.20gb)",
    }


def test_a_gpu_without_a_uuid_has_the_index_of_nvml():
    assert unnamed({"index": 1}) == "GPU 1 (no UUID)"
    assert unnamed({"index": 1, "name": "NVIDIA A100"}) == "GPU 1 (A100, no UUID)"


def test_numbers_are_those_of_the_plan_also_of_mig_devices():
    plan = {"gpus": [{"uuid": A, "number": 5}, {"uuid": M, "number": 7}]}
    assert shown_numbers(FACTS) == {A: 0, B: 1, M: 1} and shown_numbers(FACTS, plan) == {A: 5, B: 7, M: 7}


@pytest.mark.parametrize(
    "text, shown",
    [
        ("%s holds 3 GiB" % A, "GPU 0 (RTX A6000) holds 3 GiB"),
        ("3 GiB on %s, 4 GiB on %s" % (A, B), "3 GiB on GPU 0 (RTX A6000), 4 GiB on GPU 1 (A100)"),
        ("without %s, %s" % (B, A), "without GPU 1 (A100), GPU 0 (RTX A6000)"),
        ("memory of %s: 3 (%s)" % (A, B), "memory of GPU 0 (RTX A6000): 3 (GPU 1 (A100))"),
        ("it has CUDA_VISIBLE_DEVICES=%s,%s: no" % (A, B), "it has CUDA_VISIBLE_DEVICES=%s,%s: no" % (A, B)),
        ("nvidia-smi --id=%s" % A, "nvidia-smi --id=%s" % A),
        ("it wants '%s'" % A, "it wants '%s'" % A),
        ("%s-x, x%s" % (A, A), "%s-x, x%s" % (A, A)),
    ],
)
def test_uuids_of_sentences_become_names_and_values_stay(text, shown):
    assert with_names(text, gpu_names(FACTS)) == shown
    assert with_names(text, {}) == text


def test_a_gpu_without_a_number_of_the_plan_has_the_index_of_nvml():
    names = gpu_names({}, {"gpus": [{"uuid": A, "index": 3, "name": "NVIDIA A100"}, {"uuid": B, "name": "NVIDIA L4"}]})
    assert names == {A: "GPU 3 (A100, %s)" % A}
    assert [number_of(gpu) for gpu in ({"number": 0, "index": 5}, {"number": None, "index": 5}, {})] == [0, 5, None]
