# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Every kind of finding is provoked by a test, on a host of the rig where it says so, and is in the guide."""

from __future__ import annotations

import pathlib
import re

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

GUIDE = pathlib.Path(__file__).resolve().parents[5] / "docs" / "docsite" / "rst" / "diagnose.rst"
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


def test_the_guide_has_the_table():
    text = GUIDE.read_text(encoding="utf-8")
    rows = re.findall(r"^   \* - ``(\w+)``\n     - (.+)\n     - (.+)\n     - (.+)$", text, re.MULTILINE)
    wanted = [(name, one.text, "; ".join(one.symptoms), one.tested) for name, one in KINDS.items()]
    assert rows == wanted
