# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""GPUs that are gone, and those that are listed and that no program can use."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.missing_gpus import missing_gpus

PART = {"uuid": "MIG-1", "name": "A100 MIG 3g.20gb"}


@pytest.mark.parametrize(
    "gpu, wanted, words",
    [
        ({}, "GPU-a", None),
        ({"mig": {"mode": None, "devices": []}, "compute_mode": "default"}, "GPU-a", None),
        ({"mig": {"mode": "disabled", "devices": []}}, "GPU-a", None),
        ({"mig": {"mode": "enabled", "devices": []}}, "GPU-a", "MIG is enabled and no MIG device exists"),
        ({"mig": {"mode": "enabled", "devices": [PART]}}, "MIG-1", None),
        ({"mig": {"mode": "enabled", "devices": [PART]}}, "GPU-a", "the driver does not list it"),
        ({"mig": {"mode": "enabled", "devices": [{"uuid": None}]}}, "GPU-a", "the driver does not list it"),
        ({"compute_mode": "prohibited"}, "GPU-a", "the compute mode is prohibited"),
        ({"health": {"state": "unusable", "reasons": ["2 uncorrected ECC errors"]}}, "GPU-a", None),
    ],
)
def test_what_no_program_can_compute_on_is_missing(gpu, wanted, words):
    found = missing_gpus([wanted, wanted], {"gpus": [dict(gpu, uuid="GPU-a")]})
    assert {uuid: why.reason for uuid, why in found.items()} == ({wanted: words} if words else {})


def test_without_an_inventory_all_are_missing_and_none_is_listed():
    assert [why.listed for why in missing_gpus(["GPU-a"], {}).values()] == [False]
    assert missing_gpus([], {}) == {}
