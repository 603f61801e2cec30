# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What entry points of the role ask of the stages that they share."""

from __future__ import annotations

from pathlib import Path

import yaml
from jinja2.nativetypes import NativeEnvironment

TASKS = Path(__file__).resolve().parents[2] / "roles" / "ollama_multigpu" / "tasks"


def value_of(expression, variables):
    """What Ansible makes of a value that is one expression."""
    environment = NativeEnvironment()
    environment.filters["bool"] = bool
    return environment.from_string(expression or "").render(variables)


def tasks(name):
    """All tasks of a file, those of blocks among them."""
    found = []
    for task in yaml.safe_load((TASKS / name).read_text()):
        found += [task, *task.get("block", [])]
    return found


def test_nothing_is_measured_for_a_reviewed_plan():
    (plan,) = [task for task in tasks("plan/placement.yml") if "gpufleet.ollama.placement_info" in task]
    variables = {"__ollama_multigpu_measuring": "measuring", "omit": "left out"}
    for wanted, reviewed, told in ((True, "", "measuring"), (True, "a.json", "left out"), (False, "", "left out")):
        settings = {"ollama_multigpu_measure": wanted, "ollama_multigpu_plan_file": reviewed}
        given = dict(variables, __ollama_multigpu_settings=settings)
        given["__ollama_multigpu_measured_here"] = value_of(plan["vars"].get("__ollama_multigpu_measured_here"), given)
        assert value_of(plan["gpufleet.ollama.placement_info"]["measure"], given) == told
        assert value_of(plan["become"], given) is (told == "measuring")


def test_a_report_does_not_fail_because_a_host_differs():
    """It would say of a host that only differs that its run has failed."""
    (plan,) = [task for task in tasks("report.yml") if task.get("ansible.builtin.include_tasks") == "plan.yml"]
    assert plan["vars"]["__ollama_multigpu_fails_on_change"] is False


def test_the_role_gives_its_variables_where_a_plan_is_written_and_where_it_is_compared():
    for name in ("plan/file.yml", "plan/reviewed.yml"):
        (task,) = [task for task in tasks(name) if "gpufleet.ollama.plan_file" in task]
        given = {"__ollama_multigpu_settings": {"a": 1}, "known": True}
        assert value_of(task["gpufleet.ollama.plan_file"]["settings"], given) == {"a": 1}
