# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the loaded model is the one that the plan names; test_less_evidence.py has each of its lies."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import PS, findings, observations, plan


def checks(evidence):
    found = evidence.instances[0].checks + evidence.instances[0].models[0].checks
    return {check.name: check.passed for check in found}


@pytest.mark.parametrize("name", ["served_file", "base_file", "stored_digest"])
def test_what_is_not_known_of_the_model_is_not_proven(name):
    result = check_plan(plan(), observations(**{name: None}))
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])


@pytest.mark.parametrize(
    "digests, verdict, words",
    [
        ({"chat:latest": "0" * 64}, "pass", None),
        ({"chat:latest": "9" * 64}, "fail", "the alias chat:latest does not name"),
        ({"chat:latest": None}, "fail", "the alias chat:latest does not name"),
    ],
)
def test_an_alias_names_the_model_that_is_served(digests, verdict, words):
    wanted = plan()
    wanted["instances"][0]["models"][0]["aliases"] = ["chat"]
    result = check_plan(wanted, observations(alias_digests=digests))
    assert result.verdict == verdict and checks(result)["aliases"] is (verdict == "pass")
    assert words is None or words in result.diagnosis[0].evidence


@pytest.mark.parametrize(
    "keep_alive, until, verdict",
    [
        (-1, PS["expires_at"], "pass"),
        ("-1s", PS["expires_at"], "pass"),
        ("10m", "2026-11-28T20:30:00Z", "pass"),
        (-1, "2026-11-28T20:30:00Z", "fail"),
        (-1, None, "unproven"),
    ],
)
def test_a_model_stays_loaded_as_long_as_the_plan_wants(keep_alive, until, verdict):
    wanted = plan()
    wanted["instances"][0]["models"][0]["keep_alive"] = keep_alive
    assert check_plan(wanted, observations(ps=dict(PS, expires_at=until))).verdict == verdict
