# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The limits on memory, seen through the verdict: 10 % or 1 GiB, scratch memory, small models and the headroom."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import (
    GIB,
    MIB,
    OVERHEAD,
    A,
    B,
    findings,
    log,
    observations,
    plan,
)


@pytest.mark.parametrize("share", [100 * MIB, 3 * GIB])
def test_a_small_model_has_to_be_there_although_it_is_below_the_tolerance(share):
    small = plan({A: share}, outcome="single")
    result = check_plan(small, observations(held={}, log=None))
    assert findings(result) == ["cpu_only"]
    seen = observations(held={A: share + OVERHEAD}, log=None, utilization_peak={A: 5})
    assert check_plan(small, seen).verdict == "pass"


@pytest.mark.parametrize("off, verdict", [(0, "pass"), (3.3, "pass"), (-3.3, "pass"), (3.4, "fail"), (-3.4, "fail")])
def test_the_limit_is_ten_percent_of_a_large_device(off, verdict):
    held = {A: 33 * GIB + OVERHEAD + int(off * GIB), B: 32 * GIB + OVERHEAD}
    assert check_plan(plan(), observations(held=held)).verdict == verdict


@pytest.mark.parametrize("off, verdict", [(1020, "pass"), (-1020, "pass"), (1030, "fail"), (-1030, "fail")])
def test_the_limit_is_one_gib_of_a_small_device(off, verdict):
    small = plan({A: 4 * GIB}, outcome="single")
    assert check_plan(small, observations(held={A: 4 * GIB + OVERHEAD + off * MIB}, log=None)).verdict == verdict


@pytest.mark.parametrize(
    "off, verdict", [(1250, "pass"), (-4000, "pass"), (-5110, "pass"), (1270, "fail"), (-5130, "fail")]
)
def test_scratch_memory_for_weights_on_the_host_may_be_there_and_need_not_be(off, verdict):
    partly = plan({A: 12 * GIB}, outcome="partial")
    device = partly["instances"][0]["models"][0]["predicted"]["devices"][0]
    device.update(weight_bytes=6 * GIB, offload_scratch_bytes=4 * GIB)  # and 1 GiB each of KV cache and compute buffer
    assert check_plan(partly, observations(held={A: 12 * GIB + OVERHEAD + off * MIB}, log=None)).verdict == verdict


def test_a_gpu_that_was_to_hold_scratch_memory_alone_carries_the_model_without_it():
    partly = plan({A: 4 * GIB, B: 12 * GIB}, outcome="partial")
    device = partly["instances"][0]["models"][0]["predicted"]["devices"][0]
    device.update(layers=0, weight_bytes=0, kv_bytes=0, compute_bytes=0, offload_scratch_bytes=4 * GIB)
    assert check_plan(partly, observations(held={A: OVERHEAD, B: 12 * GIB + OVERHEAD}, log=None)).verdict == "pass"


@pytest.mark.parametrize("excess, verdict", [(1000, "pass"), (1030, "fail")])
def test_the_prediction_may_be_below_the_engines_by_the_headroom_at_most(excess, verdict):
    seen = observations(log=log(dry_run={"CUDA0": 33 * GIB + excess * MIB, "CUDA1": 32 * GIB}))
    assert check_plan(plan(), seen).verdict == verdict
