# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""plan_history as a module: results, check mode, errors. What it calls has tests of its own."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import history

from tests.unit.plugins.module_utils.host.test_history import in_force
from tests.unit.plugins.modules.run_module import run_module

EVIDENCE = [{"name": "gpu0", "models": [{"name": "a", "tokens_per_second": 40.5, "load_seconds": 3.5}, {"name": "b"}]}]


@pytest.fixture(name="root")
def _root(tmp_path, monkeypatch):
    """A host with a plan in force, which the module takes for /."""
    in_force(tmp_path)
    for name in ("keep", "is_kept"):
        monkeypatch.setattr(history, name, functools.partial(getattr(history, name), root=str(tmp_path)))
    return tmp_path


def test_a_plan_is_kept_once(root):
    options = {"number": 1, "verdict": "unproven", "instances": EVIDENCE, "rolled_back_from": 2}
    options["seconds_without_answer"] = {"gpu0": 7.25, "gpu1": "long"}
    assert run_module("plan_history", options, check=True)["changed"]
    assert history.read_history(str(root))["plans"] == []
    done = run_module("plan_history", options)
    assert done["changed"] and (done["number"], done["path"]) == (1, "/etc/ollama-multigpu/plans/1")
    (plan,) = history.read_history(str(root))["plans"]
    assert (plan["verdict"], plan["rolled_back_from"]) == ("unproven", 2)
    assert plan["tokens_per_second"] == {"gpu0": {"a": 40.5}}
    assert (plan["load_seconds"], plan["seconds_without_answer"]) == ({"gpu0": {"a": 3.5}}, {"gpu0": 7.25})
    assert not run_module("plan_history", options)["changed"]
    assert not run_module("plan_history", options, check=True)["changed"]


def test_what_cannot_be_kept_is_one_sentence(root):
    (root / "etc/ollama-multigpu/plan.json").unlink()
    failed = run_module("plan_history", {"number": 1})
    assert failed["failed"] and failed["msg"].startswith("The plan cannot be kept: the plan in /etc/ollama-multigpu/")
    assert "number is 0" in run_module("plan_history", {"number": 0})["msg"]


def test_host_info_returns_a_kept_plan_and_what_it_hides(root, monkeypatch):
    run_module("plan_history", {"number": 1})
    for name in ("kept_plan", "kept_secrets"):
        monkeypatch.setattr(history, name, functools.partial(getattr(history, name), root=str(root)))
    found = run_module("host_info", {"kept_plan": 1})
    assert found["kept_plan"]["instances"][0]["environment"]["A_TOKEN"] == "(hidden)" and "secrets" not in found
    assert run_module("host_info", {"kept_plan": 1, "secrets": True})["secrets"] == {"A_TOKEN": "MARK"}
    assert "plans/2/plan.json cannot be read" in run_module("host_info", {"kept_plan": 2})["msg"]
