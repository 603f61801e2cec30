# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The modules around evidence as Ansible runs them: what they return, what they ask for, how they fail."""

from __future__ import annotations

import pytest
from ansible.module_utils import basic
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Observations
from ansible_collections.gpufleet.ollama.plugins.modules import gpu_facts, placement_check

from tests.unit.plugins.module_utils.evidence.builders import GIB, MIB, A, B, observations, plan
from tests.unit.plugins.modules.run_module import run_module


@pytest.fixture
def seen(monkeypatch):
    """Let placement_check observe this; its calls of collect are in `asked`."""
    box = {"observations": observations(), "asked": []}

    def collect(wanted, **options):
        box["asked"].append(options)
        if isinstance(box["observations"], Exception):
            raise box["observations"]
        return box["observations"]

    monkeypatch.setattr(placement_check, "collect", collect)
    box["warnings"] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, text: box["warnings"].append(text))
    return box


def test_a_check_that_passes_changes_nothing(seen):
    result = run_module("placement_check", {"plan": plan()})
    assert result["changed"] is False and result["verdict"] == "pass"
    assert seen["asked"] == [{"load": True, "generate": True, "timeout": 300.0}]


@pytest.mark.parametrize("check_mode", [False, True])
def test_in_check_mode_what_was_seen_computing_before_counts(seen, monkeypatch, check_mode):
    called = []
    for name in ("remember", "recall"):
        monkeypatch.setattr(placement_check.seen_computing, name, lambda found, name=name: called.append(name))
    run_module("placement_check", {"plan": plan()}, check_mode)
    assert called == (["recall"] if check_mode else ["remember"])


def test_a_check_that_fails_says_the_first_finding_and_its_remedy(seen):
    seen["observations"] = observations(held={A: 65 * GIB, B: 300 * MIB})
    result = run_module("placement_check", {"plan": plan()})
    assert result["failed"] is True and result["verdict"] == "fail"
    assert "one_gpu_carries_all" in result["msg"]
    assert result["diagnosis"][0]["remedy"] in result["msg"]
    assert result["instances"][0]["models"][0]["devices"][0]["observed_bytes"] == 65 * GIB


def test_what_is_not_proven_fails_unless_it_is_accepted_or_could_not_be_proven(seen):
    seen["observations"] = observations(log=None)
    result = run_module("placement_check", {"plan": plan()})
    assert result["failed"] is True and result["verdict"] == "unproven"
    assert "unproven" in result["msg"] and result["diagnosis"][0]["remedy"] in result["msg"]
    for arguments, check_mode in (({"plan": plan(), "unproven": "accept"}, False), ({"plan": plan()}, True)):
        accepted = run_module("placement_check", arguments, check_mode)
        assert not accepted.get("failed") and accepted["verdict"] == "unproven"
        assert "unproven" in seen["warnings"].pop()
    seen["observations"] = observations(held={A: 65 * GIB, B: 300 * MIB})
    assert run_module("placement_check", {"plan": plan(), "unproven": "accept"}, True)["failed"] is True


def test_a_model_that_was_loaded_again_is_said(seen):
    seen["observations"] = observations(reloaded="The engine was gone.")
    result = run_module("placement_check", {"plan": plan()})
    assert result["verdict"] == "pass" and seen["warnings"] == ["The engine was gone."]


def test_in_check_mode_nothing_is_loaded_or_generated(seen):
    run_module("placement_check", {"plan": plan(), "load": True}, True)
    assert seen["asked"] == [{"load": False, "generate": False, "timeout": 300.0}]


def test_loading_can_be_left_out(seen):
    run_module("placement_check", {"plan": plan(), "load": False, "timeout": 5})
    assert seen["asked"] == [{"load": False, "generate": True, "timeout": 5.0}]


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"plan": {}}, "no list of instances"),
        ({"plan": {"instances": [{"name": "gpu0"}]}}, "lacks unit, url, models"),
        (
            {"plan": dict(plan(), feasible=False, models=[{"name": "big", "reason": "10 GiB are missing"}])},
            "10 GiB are missing",
        ),
        ({"plan": plan(), "timeout": 0}, "above 0"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_sentence(seen, arguments, word):
    result = run_module("placement_check", arguments)
    assert result["failed"] is True and word in result["msg"] and "\n" not in result["msg"]
    assert seen["asked"] == []


def test_a_plan_without_models_passes(seen):
    seen["observations"] = Observations({"state": "no_library", "gpus": []}, {})
    result = run_module("placement_check", {"plan": {"feasible": True, "instances": []}})
    assert result["verdict"] == "pass" and result["instances"] == []


def test_a_missing_library_is_left_to_the_action_plugin(seen):
    seen["observations"] = LibraryMissing("requests", "")
    result = run_module("placement_check", {"plan": plan()})
    assert result["failed"] is True and result["missing_library"] == "requests" and result["python_version"]


# -- gpu_facts ---------------------------------------------------------------------------------------------------------

NO_DRIVER = {
    "state": "no_library",
    "reason": "The library cannot be loaded",
    "remedy": "Install the driver.",
    "gpus": [],
}


def test_a_host_without_a_gpu_is_no_error(monkeypatch):
    monkeypatch.setattr(gpu_facts, "read_inventory", lambda timeout: (NO_DRIVER, None))
    result = run_module("gpu_facts", {})
    assert {name for name in result if name not in ("invocation", "changed", "failed")} == {"ansible_facts"}
    assert result["ansible_facts"] == {"gpu_inventory": NO_DRIVER}


def test_it_can_be_made_one(monkeypatch):
    monkeypatch.setattr(gpu_facts, "read_inventory", lambda timeout: (NO_DRIVER, None))
    result = run_module("gpu_facts", {"fail_on_missing": True})
    assert result["failed"] is True
    assert result["msg"] == "No usable GPU: The library cannot be loaded. Install the driver."


def test_the_missing_binding_is_told_to_the_action_plugin(monkeypatch):
    monkeypatch.setattr(
        gpu_facts,
        "read_inventory",
        lambda timeout: (dict(NO_DRIVER, state="no_binding"), LibraryMissing("nvidia-ml-py", "why")),
    )
    result = run_module("gpu_facts", {})
    assert (result["missing_library"], result["missing_reason"]) == ("nvidia-ml-py", "why")


def test_a_timeout_has_to_be_positive():
    assert "above 0" in run_module("gpu_facts", {"timeout": -1})["msg"]


# -- server_info -------------------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_a_result():
    result = run_module("server_info", {"url": "http://127.0.0.1:9", "timeout": 1})
    assert result["server"]["reachable"] is False and result["changed"] is False


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"url": "127.0.0.1:11434"}, "http://host:port"),
        ({"url": "http://127.0.0.1:99999"}, "65535"),
        ({"timeout": 0}, "above 0"),
        ({"plan": {"instances": "x"}}, "no list of instances"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(arguments, word):
    result = run_module("server_info", arguments)
    assert result["failed"] is True and word in result["msg"]


@pytest.mark.parametrize(
    "module, options",
    [
        ("placement_check", {"plan": {}}),
        ("server_info", {"plan": {}}),
        ("changes_info", {"settings": {}, "host": {}, "plan": {}, "applied_plan": {}}),
        ("placement_info", {"environment": {}, "environment_unchecked": {}, "applied_plan": {}}),
    ],
)
def test_environments_are_kept_out_of_the_log_and_messages_are_not_masked(monkeypatch, module, options):
    """Ansible writes the options of a module to the host's log, and masks the values of those that it does not."""
    logged = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, msg, log_args=None: logged.append((msg, log_args)))
    marked = {"environment": {"OLLAMA_ORIGINS": "MARK", "A": "an", "B": "is"}}
    given = {name: marked for name in options}
    if module == "placement_info":
        given.update(gpu_inventory={}, models=[], ollama_version="0.32.15")
    if module == "changes_info":
        given.update(names=["ollama_multigpu_x"], settings={"ollama_multigpu_environment": marked["environment"]})
    result = run_module(module, given)
    assert logged and "MARK" not in str(logged)
    assert result["msg"] and "***" not in result["msg"]
    assert "MARK" not in str(result)
