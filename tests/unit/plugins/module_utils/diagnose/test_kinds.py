# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Every kind of finding is provoked by a test, on a host of the rig where it says so."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.kinds import KINDS, RECORDED, RIG, SYMPTOMS

from tests.integration.diagnose_cases import CASES as ON_RIG
from tests.unit.plugins.module_utils.diagnose import (
    test_answers,
    test_driver,
    test_gpu_condition,
    test_host_memory,
    test_installed,
    test_placed,
    test_proven,
    test_server_settings,
    test_tenants,
    test_visible_devices,
)

MODULES = (
    test_answers,
    test_driver,
    test_gpu_condition,
    test_host_memory,
    test_installed,
    test_placed,
    test_proven,
    test_server_settings,
    test_tenants,
    test_visible_devices,
)


def test_every_kind_is_provoked():
    provoked = [kind for module in MODULES for kind in module.CASES]
    assert sorted(provoked) == sorted(KINDS) and len(KINDS) >= 25


def test_those_that_the_rig_provokes():
    assert {kind for kind, one in KINDS.items() if one.tested == RIG} == set(ON_RIG)
    assert {one.tested for one in KINDS.values()} == {RIG, RECORDED}


def test_every_symptom_has_explanations():
    explained = {symptom for one in KINDS.values() for symptom in one.symptoms}
    assert explained == set(SYMPTOMS) and all(one.symptoms for one in KINDS.values())
