# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the server is the one that the plan names; test_less_evidence.py has each of its lies."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import GIB, MIB, NAME, A, B, findings, observations, plan


def checks(evidence):
    found = evidence.instances[0].checks + evidence.instances[0].models[0].checks
    return {check.name: check.passed for check in found}


def with_environment(**options):
    seen = observations(**options)
    seen.instances["gpu0-1"].differences = [{"name": "CUDA_VISIBLE_DEVICES", "difference": "other_than_planned"}]
    return check_plan(plan(), seen)


def test_a_setting_is_named_first_where_it_may_be_the_cause():
    """The wrong memory of a model may come from it; a dead engine does not."""
    assert findings(with_environment()) == ["far_from_predicted"]
    elsewhere = with_environment(held={A: 65 * GIB, B: 300 * MIB})
    assert findings(elsewhere) == ["far_from_predicted", "one_gpu_carries_all"]
    assert "CUDA_VISIBLE_DEVICES" in elsewhere.diagnosis[0].evidence
    assert findings(with_environment(died="it ended", stayed=None)) == ["engine_died", "far_from_predicted"]


def test_the_server_of_somebody_else_is_named_before_what_it_does():
    seen = observations(held={A: 65 * GIB, B: 300 * MIB})
    seen.instances["gpu0-1"].listener = {"pid": 77, "process": "nginx", "unit": None}
    result = check_plan(plan(), seen)
    assert findings(result) == ["not_loaded", "one_gpu_carries_all"]
    assert "process 77 (nginx, no unit)" in result.diagnosis[0].evidence


@pytest.mark.parametrize("process", ["ollama", "socat"])
def test_another_process_of_the_unit_is_not_told_as_one_of_elsewhere(process):
    """A wrapper that starts the server and stays, or something that forwards."""
    seen = observations()
    seen.instances["gpu0-1"].listener = {"pid": 99, "process": process, "unit": "ollama@gpu0-1.service"}
    told = check_plan(plan(), seen).diagnosis[0]
    assert "process 99 (%s, ollama@gpu0-1.service) answers" % process in told.evidence
    assert "not the main process of its unit (4200)" in told.evidence and "not the server of" not in told.evidence
    assert "has to become the server (exec" in told.remedy


def test_a_unit_that_does_not_say_which_program_it_starts_is_not_proven():
    seen = observations()
    seen.instances["gpu0-1"].runs_next = None
    told = check_plan(plan(), seen)
    assert (told.verdict, findings(told)) == ("unproven", ["unproven"])
    assert "(programs)" in told.diagnosis[0].evidence and "let it name the program ollama" in told.diagnosis[0].remedy


@pytest.mark.parametrize("name", ["version", "listener", "executable", "differences"])
def test_what_is_not_known_of_the_server_is_not_proven(name):
    seen = observations()
    setattr(seen.instances["gpu0-1"], name, None)
    result = check_plan(plan(), seen)
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    assert "root" in result.diagnosis[0].remedy


@pytest.mark.parametrize(
    "server, engine, passed",
    [
        ("/opt/release/bin/ollama", "/opt/release/lib/ollama/llama-server", True),
        ("/opt/release/bin/ollama", "/opt/release/bin/ollama", True),  # the runner of releases before 0.30
        ("/usr/bin/python3", "/opt/release/lib/ollama/llama-server", True),  # a script
        ("/opt/release/bin/ollama", "/tmp/llama-server.real", False),
        ("/opt/release/bin/ollama (deleted)", "/opt/release/lib/ollama/llama-server", False),
        ("/opt/release/bin/ollama", "/opt/s/lib/ollama/llama-server", False),
        (None, "/opt/release/lib/ollama/llama-server", None),
        (None, "/opt/release/lib/ollama/llama-server (deleted)", False),
    ],
)
def test_server_and_engine_are_of_one_installation(server, engine, passed):
    seen = observations()
    instance = seen.instances["gpu0-1"]
    instance.executable = server
    instance.models[NAME].engine = dataclasses.replace(instance.models[NAME].engine, executable=engine)
    assert checks(check_plan(plan(), seen))["programs"] is passed


def test_a_server_that_is_not_reachable_has_only_that_finding():
    seen = observations()
    seen.instances["gpu0-1"].reachable = False
    result = check_plan(plan(), seen)
    assert findings(result) == ["not_loaded"] and "listener" not in checks(result)


@pytest.mark.parametrize("answer, verdict", [("yes", "fail"), ("no", "pass"), (None, "unproven")])
def test_a_unit_that_systemd_has_not_read_again_is_found(answer, verdict):
    seen = observations()
    seen.instances["gpu0-1"].unit["NeedDaemonReload"] = answer
    if answer is None:
        del seen.instances["gpu0-1"].unit["NeedDaemonReload"]
    result = check_plan(plan(), seen)
    assert result.verdict == verdict and checks(result)["unit"] is {"yes": False, "no": True}.get(answer)
    if verdict == "fail":
        assert findings(result) == ["far_from_predicted"]
        assert "systemd has not read it again" in result.diagnosis[0].evidence
        assert "systemctl daemon-reload" in result.diagnosis[0].remedy
