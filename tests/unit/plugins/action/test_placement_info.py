# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""placement_info on the controller: the same results and failures as the module has on a host."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.gpufleet.ollama.plugins.action.placement_info import ActionModule
from ansible_collections.gpufleet.ollama.plugins.modules import placement_info
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_host import OnHost

from tests.oracle import hosts, models
from tests.unit.plugins.modules.run_module import run_module

ARGUMENTS = {
    "gpu_inventory": hosts.inventory(hosts.A6000, hosts.A6000),
    "ollama_version": "0.32.15",
    "models": [{"name": "llama4:16x17b", "model": models.model("llama4-scout"), "context_length": 32768}],
}


def act(arguments, monkeypatch, async_val=0):
    """Result of the action plugin; a failure as Ansible reports it, and `on_host` where the module would be sent."""
    task = SimpleNamespace(
        args=arguments, action="gpufleet.ollama.placement_info", async_val=async_val, check_mode=False
    )
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None), has_native_async=False)
    plugin = ActionModule(task, connection, mock.Mock(), None, None, None)
    monkeypatch.setattr(
        OnHost, "_execute_module", lambda self, **options: {"on_host": self._task.args, "options": options}
    )
    try:
        return plugin.run(task_vars={})
    except AnsibleActionFail as error:
        return {"failed": True, "msg": str(error)}


def test_the_plan_is_that_of_the_module(monkeypatch):
    assert act(ARGUMENTS, monkeypatch) == run_module("placement_info", ARGUMENTS)
    texts = dict(ARGUMENTS, base_port="12000", headroom_bytes="2147483648", models_dir="/srv/models/")
    result = act(texts, monkeypatch)
    assert result == run_module("placement_info", texts)
    assert result["placement"]["instances"][0]["port"] == 12000
    small = dict(ARGUMENTS, gpu_inventory=hosts.inventory(hosts.RTX4090), measure=None)
    result = act(small, monkeypatch)
    assert result == run_module("placement_info", small) and not result["placement"]["feasible"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_port": "many"},
        {"models": [{"name": "m"}]},
        {"models": [{"nmae": "m"}]},
        {"models": ["m"]},
        {"models": [{"name": "m", "optimized": True}]},
        {"cordon": [0]},
        {"models": [dict(ARGUMENTS["models"][0], strategy="sideways")]},
        {"models": [dict(ARGUMENTS["models"][0], parameters={"num_gpu": 2})]},
        {"models": [dict(ARGUMENTS["models"][0], optimized={"nosuch": 1})]},
        {"environment": {"LD_PRELOAD": "x"}},
        {"gpu_inventory": "x"},
    ],
)
def test_the_failure_is_that_of_the_module(wrong, monkeypatch):
    arguments = dict(ARGUMENTS, **wrong)
    result = act(arguments, monkeypatch)
    told = run_module("placement_info", arguments)["msg"].replace("(basic.py)", "(gpufleet.ollama.placement_info)")
    assert result["failed"] and result["msg"] == told


def test_the_arguments_of_the_task_are_not_changed(monkeypatch):
    arguments = dict(ARGUMENTS, environment={"OLLAMA_DEBUG": 1})
    before = repr(arguments)
    assert "placement" in act(arguments, monkeypatch) and repr(arguments) == before


def test_ends_of_cordons_are_compared_with_the_clock_of_the_controller(monkeypatch):
    """Also where the module runs on the host; a date of YAML is a date."""
    cordon = [{"gpu": 0, "until": datetime.date(2999, 1, 1)}]
    monkeypatch.setattr(placement_info, "time_here", lambda: "2999-06-01T00:00:00+00:00")
    over = act(dict(ARGUMENTS, cordon=cordon), monkeypatch)
    assert over["placement"]["left_out"] == [] and "2999-01-01" in over["placement"]["without_effect"][0]
    arguments = dict(ARGUMENTS, cordon=cordon, measure={})
    assert act(arguments, monkeypatch)["on_host"]["now"] == "2999-06-01T00:00:00+00:00" and "now" not in arguments
    own = dict(arguments, now="2026-01-01T00:00:00Z")
    assert act(own, monkeypatch)["on_host"]["now"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("option", [{"measure": {}}, {"models_dir": "~/models"}, {"models_dir": "$HOME/models"}])
def test_what_needs_the_host_runs_there(option, monkeypatch):
    result = act(dict(ARGUMENTS, **option), monkeypatch)
    assert set(option) <= set(result["on_host"]) and result["options"]["wrap_async"] is False
    assert act(ARGUMENTS, monkeypatch, async_val=30)["options"]["wrap_async"] is True


def test_ansible_runs_it_without_a_python_on_the_host(play):
    outcome, output = play("/nonexistent/python", "placement_info", ARGUMENTS, options=["-vvv", "--check"])
    outcome.pop("failed")
    assert outcome == run_module("placement_info", ARGUMENTS)
    assert "AnsiballZ_placement_info" not in output
    templated = dict(ARGUMENTS, listen_address="{{ '127.0.0.' ~ 2 }}", base_port="{{ 12000 }}", nosuch=1)
    outcome, output = play("/nonexistent/python", "placement_info", templated)
    assert outcome["failed"] and "nosuch. Supported parameters include: adapters, advertise_address" in outcome["msg"]
    del templated["nosuch"]
    outcome, output = play("/nonexistent/python", "placement_info", templated)
    assert outcome["placement"]["instances"][0]["url"] == "http://127.0.0.2:12000"


def test_the_module_still_runs_on_a_host(play, bare_python):
    arguments = dict(ARGUMENTS, models_dir="$NO_SUCH_VARIABLE/srv/models")
    outcome, output = play(bare_python, "placement_info", arguments, options=["-vvv"])
    assert "AnsiballZ_placement_info" in output and outcome["failed"] and "models_dir" in outcome["msg"]
