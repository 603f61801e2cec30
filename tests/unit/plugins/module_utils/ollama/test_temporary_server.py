# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A server in a unit of its own; test_fetch_server.py has its start and end. What systemd does is played."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import temporary_server
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.temporary_server import NotStarted, UnitFile


@pytest.fixture(name="said")
def _said(monkeypatch):
    """What systemctl is told; it refuses to start units, and to stop one."""
    said = []

    def ask(command, timeout):
        told = [word for word in command[1:] if not word.startswith("--")]
        said.append(" ".join(told))
        if told == ["stop", "stuck.service"]:
            return 1, "", "Job failed."
        return (1, "", "no such unit") if told[0] == "start" else (0, "", "")

    monkeypatch.setattr(temporary_server.units, "ask", ask)
    monkeypatch.setattr(temporary_server.systemd, "show", lambda units: {})
    monkeypatch.setattr(temporary_server.systemd, "journal", lambda unit, since: ([], "no journal"))
    return said


def test_a_unit_that_systemd_does_not_start_is_said_with_its_journal(said):
    with pytest.raises(NotStarted, match=r"x.service does not answer \(.*no such unit\). Its journal .*no journal"):
        temporary_server.start("x.service")
    assert said == ["daemon-reload", "start x.service"]


def test_files_are_written_with_their_modes_and_removed(said, tmp_path):
    unit, environment = tmp_path / "x.service", tmp_path / "x.env"
    temporary_server.write([UnitFile(str(unit), "[Unit]\n"), UnitFile(str(environment), "A=1\n", 0o600)])
    assert [path.stat().st_mode & 0o777 for path in (unit, environment)] == [0o644, 0o600]
    assert unit.read_text() == "[Unit]\n"
    temporary_server.stop("x.service", [str(unit), str(environment)])
    assert said == ["stop x.service", "reset-failed x.service"] and not list(tmp_path.iterdir())
    temporary_server.stop("x.service", [str(unit)])
    assert len(said) == 2, "nothing is stopped where there is nothing"


@pytest.mark.parametrize(
    "state, runs, is_there, is_stopped",
    [
        ("active", True, True, True),
        ("activating", True, True, True),
        ("deactivating", False, True, True),
        ("failed", False, False, True),
        ("inactive", False, False, False),
        ("", False, False, False),
    ],
)
def test_a_unit_that_has_not_ended_is_waited_for(said, monkeypatch, state, runs, is_there, is_stopped):
    """One that has failed is taken from the list of units."""
    monkeypatch.setattr(temporary_server.systemd, "show", lambda units: {"x.service": {"ActiveState": state}})
    assert temporary_server.is_running("x.service") is runs and temporary_server.is_there("x.service") is is_there
    assert temporary_server.stop("x.service", ["/nonexistent/x.service"]) == ""
    assert said == (["stop x.service", "reset-failed x.service"] if is_stopped else [])


def test_a_unit_that_does_not_stop_is_told(said, tmp_path):
    (tmp_path / "stuck.service").touch()
    assert temporary_server.stop("stuck.service", [str(tmp_path / "stuck.service")]).endswith(": Job failed.")
