# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Stages of tasks, and what became of a host."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.run_record import STAGES, RunRecord, stage_of


@pytest.mark.parametrize(
    "path, stage",
    [
        ("/c/roles/ollama_multigpu/tasks/main.yml:7", "plan"),
        ("/c/roles/ollama_multigpu/tasks/freeze.yml:7", "plan"),
        ("/c/roles/ollama_multigpu/tasks/names.yml:5", "plan"),
        ("/c/roles/ollama_multigpu/tasks/plan/host.yml:7", "plan"),
        ("/c/roles/ollama_multigpu/tasks/switch/one.yml:7", "switch"),
        ("/c/roles/ollama_multigpu/tasks/verify.yml:7", "verify"),
        ("/c/roles/ollama_multigpu/tasks/verify/prune.yml:7", "verify"),
        ("/c/roles/ollama_multigpu/tasks/remove/give_back.yml:7", "remove"),
        ("/c/roles/ollama_gateway/tasks/install/main.yml:7", "gateway"),
        ("/c/roles/ollama_multigpu/tasks/new/main.yml:7", "other"),
        ("/c/playbooks/site.yml:3", "other"),
        ("/c/roles/nginx/tasks/install/main.yml:3", "other"),
        (None, "other"),
    ],
)
def test_the_stage_of_a_task(path, stage):
    assert stage_of(path) == stage and stage in STAGES


@pytest.mark.parametrize(
    "shown, counted, check, state",
    [
        ([], {}, False, "done"),
        ([{"kind": "plan", "feasible": True, "in_force": False, "gpus": [], "served": []}], {}, False, "planned"),
        ([{"kind": "plan", "feasible": True, "in_force": True, "gpus": [], "served": []}], {}, True, "as planned"),
        ([{"kind": "difference", "changes": 3}], {}, True, "would change"),
        ([{"kind": "evidence", "verdict": "pass", "observed": {}}], {}, False, "proven"),
        ([{"kind": "evidence", "verdict": "unproven", "observed": {}}], {}, False, "verdict unproven"),
        ([{"kind": "evidence", "verdict": "pass", "observed": {}}], {"failures": 1}, False, "FAILED"),
        ([{"kind": "diagnosis", "findings": {}}], {}, False, "without findings"),
        ([{"kind": "diagnosis", "findings": {"certain": 2, "possible": 1}}], {}, False, "with findings"),
        ([], {"unreachable": 1, "failures": 1}, False, "UNREACHABLE"),
    ],
)
def test_the_state_of_a_host(shown, counted, check, state):
    record = RunRecord(check)
    for overview in shown:
        record.showed("a", overview)
    (host,) = record.outcomes({"a": counted})
    assert host.state == state


IN_FORCE = {"kind": "plan", "feasible": True, "in_force": True, "gpus": [], "served": []}
NEW = dict(IN_FORCE, in_force=False)
VERIFIED = {"kind": "evidence", "verdict": "pass", "observed": {}}


@pytest.mark.parametrize(
    "shown, stages, state, text",
    [
        # As of the playbook plan: a file of the host was edited, or there is another plan.
        ([IN_FORCE, {"kind": "difference", "changes": 3}], ["plan"], "would change", "3 changes, see above"),
        ([NEW, {"kind": "difference", "changes": 1}], ["plan", "other"], "would change", "1 change, see above"),
        ([IN_FORCE, {"kind": "difference", "changes": 3}], ["plan", "report"], "would change", "3 changes, see above"),
        ([IN_FORCE, {"kind": "difference", "changes": 0}], ["plan"], "as planned", ""),
        # As of site, with all of its stages, and without the last ones.
        ([NEW, {"kind": "difference", "changes": 3}, VERIFIED], STAGES, "proven", ""),
        ([NEW, {"kind": "difference", "changes": 3}], ["plan", "install", "fetch", "switch", "finish"], "planned", ""),
        ([IN_FORCE, {"kind": "difference", "changes": 3}], ["plan", "finish"], "as planned", ""),
        ([IN_FORCE, {"kind": "difference", "changes": 3}], ["plan", "install"], "as planned", ""),
    ],
)
def test_a_run_that_has_only_looked_says_what_would_change(shown, stages, state, text):
    record = RunRecord()
    for stage in stages:
        record.took("a", stage, 0.0)
    for overview in shown:
        record.showed("a", overview)
    (host,) = record.outcomes({"a": {}})
    assert (host.state, host.text) == (state, text)


def test_a_host_with_findings_says_how_sure_they_are():
    record = RunRecord()
    record.showed("a", {"kind": "diagnosis", "findings": {"certain": 2, "possible": 1}})
    (host,) = record.outcomes({"a": {}})
    assert host.text == "2 certain, 1 possible, see above" and not host.is_well


def test_seconds_are_summed_by_stage_and_the_first_reason_counts():
    record = RunRecord()
    for stage, seconds in (("plan", 1.0), ("plan", 2.0), ("verify", 0.5)):
        record.took("a", stage, seconds)
    record.failed("a", "first")
    record.failed("a", "second")
    (host,) = record.outcomes({"a": {"failures": 1}})
    assert host.seconds == {"plan": 3.0, "verify": 0.5} and host.text == "first"
