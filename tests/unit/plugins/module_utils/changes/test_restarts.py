# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why an instance is started, restarted or enabled; the facts are those that server_info makes of a process."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import restarts
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import server as servers

WANTED = {"OLLAMA_HOST": "127.0.0.1:11434", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
INSTANCE = {"name": "gpu0-1", "unit": "ollama@gpu0-1.service", "url": "http://127.0.0.1:11434", "environment": WANTED}


def state(
    process=None, unit=None, active="active", reload=False, executable="/opt/new/bin/ollama", arguments=(), main_pid=1
):
    return {
        "unit": None
        if active is None
        else {"active_state": active, "needs_daemon_reload": reload, "main_pid": main_pid},
        "environment": {"process": dict(WANTED, **(process or {})), "unit": dict(WANTED, **(unit or {}))},
        "executable": executable,
        "arguments": list(arguments),
    }


def read(server, executable="/opt/new/bin/ollama"):
    """The server as server_info returns it."""
    server["wanted_executable"] = executable
    server["runs_executable"] = servers._runs(executable, server)
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
        ({"executable": "/opt/old/bin/ollama"}, "another file"),
        ({"executable": "/opt/new/bin/ollama (deleted)"}, "another file"),
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
    running = state()
    running["environment"]["process"] = None
    running["executable"] = None
    assert restarts.restart_reasons(INSTANCE, read(running)) == []
