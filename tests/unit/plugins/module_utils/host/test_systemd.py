# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What systemd says about units, and the drop-ins and links in a made-up root directory."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import systemd

from tests.unit.plugins.module_utils.host.builders import SHOW, write


def test_units_are_read_from_systemctl_show():
    units = systemd.parse_show(SHOW)
    assert (
        units["ollama.service"]["UnitFileState"] == "enabled"
        and units["ollama@gpu0.service"]["ActiveState"] == "active"
    )
    assert paths.instance_of("ollama@gpu0-1.service") == "gpu0-1" and paths.instance_of("ollama.service") is None


def test_a_property_may_come_several_times():
    text = "Id=a.service\nEnvironmentFiles=/a (ignore_errors=no)\nEnvironmentFiles=/b (ignore_errors=yes)\nEmpty=\n"
    assert systemd.parse_show(text)["a.service"] == {
        "Id": "a.service",
        "EnvironmentFiles": "/a (ignore_errors=no)\n/b (ignore_errors=yes)",
        "Empty": "",
    }


def test_the_program_that_a_unit_starts():
    one = "{ path=/opt/a/bin/ollama ; argv[]=/opt/a/bin/ollama serve ; ignore_errors=no ; start_time=[n/a] ; pid=0 }"
    assert systemd.command({"ExecStart": one}) == ["/opt/a/bin/ollama", "serve"]
    assert systemd.command({"ExecStart": one + "\n" + one}) == [] == systemd.command({})
    assert "ExecStart" in systemd.PROPERTIES


def test_the_environment_of_a_unit_is_read_as_systemd_does(tmp_path):
    more = write(tmp_path / "more.env", "# comment\nE='quoted'\nF=two words\nbroken\"\n")
    properties = {
        "User": "ollama",
        "Environment": 'PATH=/bin A=2 "B=two words" C=50% D=4',
        "EnvironmentFiles": "%s (ignore_errors=yes)" % more,
    }
    assert systemd.environment(properties) == {
        "PATH": "/bin",
        "A": "2",
        "B": "two words",
        "C": "50%",
        "D": "4",
        "E": "quoted",
        "F": "two words",
    }
    assert systemd.user(properties) == "ollama" and systemd.user({}) == systemd.user({"User": ""}) == "root"


def test_files_come_after_assignments_and_the_last_one_wins(tmp_path):
    first, second = tmp_path / "first file.env", tmp_path / "second.env"
    first.write_text("A=first\nB=first\n")
    second.write_text("B=second\n")
    files = "%s (ignore_errors=no)\n%s (ignore_errors=yes)\n%s (ignore_errors=yes)" % (
        first,
        second,
        tmp_path / "missing",
    )
    assert systemd.environment({"Environment": "A=unit C=unit", "EnvironmentFiles": files}) == {
        "A": "first",
        "B": "second",
        "C": "unit",
    }
    assert systemd.environment({}) == {}


def test_drop_ins_of_our_units_are_found(tmp_path):
    write(tmp_path / "etc/systemd/system/ollama@gpu0.service.d/x.conf")
    write(tmp_path / "run/systemd/system/ollama@.service.d/y.conf")
    write(tmp_path / "etc/systemd/system/ollama.service.d/z.conf")
    assert [entry["unit"] for entry in systemd.drop_ins(str(tmp_path))] == ["ollama@gpu0.service", "ollama@.service"]


def test_instances_that_start_at_boot_are_links(tmp_path):
    write(tmp_path / "etc/systemd/system/multi-user.target.wants/ollama@gpu1.service")
    write(tmp_path / "etc/systemd/system/multi-user.target.wants/ollama.service")
    assert systemd.enabled_instances(str(tmp_path)) == {"gpu1"}


def test_without_systemd_there_are_no_units(monkeypatch):
    def ask(command, timeout):
        raise FileNotFoundError("systemctl")

    monkeypatch.setattr(systemd, "ask", ask)
    assert systemd.show_ours() == {} and systemd.show([]) == {}
    lines, reason = systemd.journal("ollama.service")
    assert lines == [] and "journalctl cannot be run" in reason


def test_a_journal_is_read_from_a_moment_on(monkeypatch):
    asked = []
    monkeypatch.setattr(systemd, "ask", lambda command, timeout: asked.append(command) or (0, "a\nb\n", ""))
    assert systemd.journal("ollama.service", 7.9) == (["a", "b"], None) and "--since=@7" in asked[0]
    monkeypatch.setattr(systemd, "ask", lambda command, timeout: (0, "", ""))
    assert systemd.journal("ollama.service") == ([], None)
    monkeypatch.setattr(systemd, "ask", lambda command, timeout: (1, "", "No journal files\nmore"))
    assert systemd.journal("ollama.service") == (
        [],
        "the journal of ollama.service holds nothing of this engine (No journal files)",
    )
