# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of damaged headers: an estimate in bounded time, whatever the numbers."""

from __future__ import annotations

import copy
import dataclasses
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import table


def enlarged_inputs(model):
    for kind in model.layer_kinds:
        kind["altup_router.weight"] = [kind["altup_router.weight"][0], 2**40]
    return model


def enlarged_experts(model):
    model.hyperparameters["expert_used_count"] = 2**31
    return dataclasses.replace(model, expert_used_count=2**31)


@pytest.mark.parametrize("name, damage", [("gemma3n-e4b", enlarged_inputs), ("mixtral-8x7b", enlarged_experts)])
def test_a_count_that_drives_a_loop_does_not_keep_the_plan_busy(name, damage):
    model = damage(copy.deepcopy(table.facts(name)))
    begin = time.process_time()
    found = estimate.estimate(model, [1, 1], Load(4096))
    assert time.process_time() - begin < 2
    assert all(device.compute_bytes > 0 for device in found.devices)
