# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Health of a GPU from what was read of it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import health, schema


def gpu(**changes):
    return schema.Gpu(index=0, uuid="GPU-a", **changes)


def test_a_gpu_without_complaints_is_ok():
    assert health.assess(
        gpu(compute_mode="exclusive_process", throttle_reasons=["software_power_cap"])
    ) == schema.Health("ok", [])


@pytest.mark.parametrize(
    "found, state, word",
    [
        ({"errors": {"name": {"code": 15, "name": "GPU is lost"}}}, "unusable", "fallen off"),
        ({"errors": {"name": {"code": 16, "name": "GPU requires restart"}}}, "unusable", "reset"),
        ({"compute_mode": "prohibited"}, "unusable", "prohibited"),
        ({"ecc": schema.Ecc(enabled=True, uncorrected_volatile=2)}, "unusable", "2 uncorrected"),
        ({"ecc": schema.Ecc(remap_failure=True)}, "unusable", "replaced"),
        ({"ecc": schema.Ecc(remap_pending=True)}, "degraded", "remapped"),
        ({"ecc": schema.Ecc(retired_pages_pending=True)}, "degraded", "retired"),
        ({"mig": schema.Mig(mode="enabled", pending_mode="enabled")}, "unusable", "MIG"),
        ({"mig": schema.Mig(mode="disabled", pending_mode="enabled")}, "degraded", "MIG"),
        ({"recovery_action": "gpu_reset"}, "unusable", "gpu_reset"),
        ({"recovery_action": "drain_p2p"}, "degraded", "drain_p2p"),
        ({"throttle_reasons": ["hardware_slowdown"]}, "degraded", "hardware_slowdown"),
        ({"temperature_celsius": 95, "slowdown_temperature_celsius": 93}, "degraded", "95 C"),
        ({"pcie": schema.Pcie(width=8, max_width=16)}, "degraded", "8 of 16"),
    ],
)
def test_each_complaint(found, state, word):
    result = health.assess(gpu(**found))
    assert result.state == state
    assert len(result.reasons) == 1 and word in result.reasons[0]


def test_the_worst_counts_and_comes_first():
    result = health.assess(gpu(compute_mode="prohibited", pcie=schema.Pcie(width=8, max_width=16)))
    assert result.state == "unusable"
    assert len(result.reasons) == 2 and "prohibited" in result.reasons[0]


def test_a_gpu_that_cannot_be_opened_is_unusable():
    assert (
        health.assess(schema.Gpu(index=1, errors={"handle": {"code": 999, "name": "Unknown Error"}})).state
        == "unusable"
    )


def test_a_link_that_sleeps_is_no_complaint():
    assert health.assess(gpu(pcie=schema.Pcie(generation=1, max_generation=4, width=16, max_width=16))).state == "ok"


def test_every_state_has_a_remedy():
    states = {value for name, value in vars(schema).items() if name.isupper() and isinstance(value, str)} - {
        schema.OK,
        schema.DEDICATED,
        schema.UNIFIED,
        schema.DEGRADED,
        schema.UNUSABLE,
    }
    assert states == set(health.REMEDIES)
