# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why an instance is started, restarted or enabled; the facts are those that server_info makes of a process."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import restarts
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.compare import compare
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import server as servers

from tests.unit.plugins.module_utils.changes.builders import WANTED as WANTED_VARIABLES
from tests.unit.plugins.module_utils.changes.builders import applied_host, model, plan, serving

WANTED = {"OLLAMA_HOST": "127.0.0.1:11434", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
INSTANCE = {"name": "gpu0-1", "unit": "ollama@gpu0-1.service", "url": "http://127.0.0.1:11434", "environment": WANTED}


def state(process=None, unit=None, active="active", reload=False, runs_executable=True):
    return {
        "unit": None if active is None else {"active_state": active, "needs_daemon_reload": reload, "main_pid": 1},
        "environment": {"process": dict(WANTED, **(process or {})), "unit": dict(WANTED, **(unit or {}))},
        "wanted_executable": "/opt/new/bin/ollama",
        "runs_executable": runs_executable,
    }


def read(server):
    """The server as server_info returns it."""
    server["environment"]["differences"] = servers.differences(WANTED, server["environment"])
    return server


def reasons(**changes):
    return restarts.restart_reasons(INSTANCE, read(state(**changes)))


def test_a_process_that_runs_as_planned_is_left_alone():
    assert reasons() == []
    assert reasons(process={"PATH": "/bin", "HOME": "/x", "LANG": "C"}) == []


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"active": None}, "not known"),
        ({"active": "inactive"}, "inactive"),
        ({"active": "failed"}, "failed"),
        ({"reload": True}, "unit has changed"),
        ({"process": {"CUDA_VISIBLE_DEVICES": "GPU-b"}}, "CUDA_VISIBLE_DEVICES"),
        ({"runs_executable": False}, "another file than /opt/new/bin/ollama"),
        ({"process": {"OLLAMA_DEBUG": "1"}}, "OLLAMA_DEBUG"),
        ({"process": {"OLLAMA_DEBUG": "1"}, "unit": {"OLLAMA_DEBUG": "2"}}, "OLLAMA_DEBUG"),
    ],
)
def test_what_needs_a_restart(changes, word):
    found = reasons(**changes)
    assert len(found) == 1 and word in found[0]


def test_a_variable_that_is_missing_in_the_process():
    running = state()
    del running["environment"]["process"]["OLLAMA_HOST"]
    assert restarts.restart_reasons(INSTANCE, read(running)) == ["OLLAMA_HOST is missing in the process"]


def test_values_are_not_told():
    """They may hold passwords of a proxy."""
    found = reasons(process={"OLLAMA_HOST": "secret"})
    assert found and "secret" not in found[0]


def test_what_a_drop_in_adds_is_no_reason_for_a_restart_as_it_would_come_back():
    assert reasons(process={"OLLAMA_DEBUG": "1"}, unit={"OLLAMA_DEBUG": "1"}) == []


def test_an_unreadable_process_is_no_reason():
    running = state(runs_executable=None)
    running["environment"]["process"] = None
    assert restarts.restart_reasons(INSTANCE, read(running)) == []


@pytest.mark.parametrize("changed, expected", [(True, 1), (False, 0), (None, 0)])
def test_a_unit_file_that_is_younger_than_the_process(changed, expected):
    """Also the run after one that was killed between the reload and the restart finds it."""
    running = read(state())
    running["unit"]["changed_since_start"] = changed
    found = restarts.restart_reasons(INSTANCE, running)
    assert found == ["a file of the unit was written after the process started"] * expected


def restarted(state, servers):
    return [(change.kind, change.reason) for change in _services(state, servers)]


def _services(found, servers):
    wanted = plan(model())
    changes = compare(wanted, found, servers, found["applied_plan"], WANTED_VARIABLES)
    return [change for change in changes.changes if change.kind in ("start", "restart")]


def test_an_instance_is_restarted_when_its_unit_file_is_written_and_not_for_its_mode():
    wanted = plan(model())
    found = applied_host(wanted)
    found["files"][paths.TEMPLATE_UNIT_FILE]["mode"] = "0600"
    assert restarted(found, serving(wanted)) == []
    found["files"][paths.TEMPLATE_UNIT_FILE]["digest"] = "0" * 64
    ((kind, reason),) = restarted(found, serving(wanted))
    assert kind == "restart" and reason == "the unit file %s is written." % paths.TEMPLATE_UNIT_FILE


def test_an_instance_is_restarted_when_its_drop_in_is_removed():
    wanted = plan(model())
    drop_in = {"path": "/etc/systemd/system/ollama@gpu0.service.d/x.conf", "unit": "ollama@gpu0.service"}
    ((kind, reason),) = restarted(applied_host(wanted, drop_ins=[drop_in]), serving(wanted))
    assert kind == "restart" and reason == "the drop-in %s is removed." % drop_in["path"]
    other = dict(drop_in, unit="ollama@gpu7.service")
    assert restarted(applied_host(wanted, drop_ins=[other]), serving(wanted)) == []


def test_instances_are_restarted_where_their_release_is_installed_again():
    """The process runs the file of before, which is not there any more then."""
    wanted = plan(model())
    found = applied_host(wanted)
    found["release"]["complete"]["0.32.15"] = "c" * 64
    assert restarted(found, serving(wanted)) == [("restart", "the release 0.32.15 is installed again.")]
    found["release"]["complete"] = {}
    assert restarted(found, serving(wanted)) == []
