# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The GPUs and MIG devices of the fact."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.gpu_devices import (
    devices_by_uuid,
    devices_of,
    mig_devices,
)

WHOLE = {"uuid": "GPU-1", "mig": {"mode": "disabled", "devices": []}}
PARTS = [{"uuid": "MIG-1"}, {"uuid": "MIG-2"}]
DIVIDED = {"uuid": "GPU-2", "mig": {"mode": "enabled", "devices": PARTS}}


@pytest.mark.parametrize("gpu", [WHOLE, {"uuid": "GPU-1"}, {"uuid": "GPU-1", "mig": None}])
def test_a_gpu_that_is_not_divided_is_one_device(gpu):
    assert mig_devices(gpu) == [] and devices_of(gpu) == [gpu]


def test_mig_devices_take_the_place_of_their_gpu():
    assert mig_devices(DIVIDED) == devices_of(DIVIDED) == PARTS
    assert devices_by_uuid({"gpus": [WHOLE, DIVIDED]}) == {"GPU-1": WHOLE, "MIG-1": PARTS[0], "MIG-2": PARTS[1]}


def test_a_gpu_in_mig_mode_without_devices_stays():
    gpu = {"uuid": "GPU-3", "mig": {"mode": "enabled", "devices": []}}
    assert devices_by_uuid({"gpus": [gpu]}) == {"GPU-3": gpu}


@pytest.mark.parametrize("facts", [{}, {"gpus": None}, {"gpus": [{"uuid": None}, {}]}])
def test_what_has_no_uuid_is_left_out(facts):
    assert devices_by_uuid(facts) == {}
