# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""environment.py installs once, and stops with a message if it cannot."""

from __future__ import annotations

import os
import pathlib
import sys
import time

import pytest

from tests.setup import environment as setup


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Commands that would be run, instead of running them; the cache is empty."""
    seen = []
    monkeypatch.setattr(setup, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(setup, "run", lambda command, why, **options: seen.append([str(part) for part in command]))
    monkeypatch.setattr(
        setup, "run_quietly", lambda command, why, log, **options: seen.append([str(part) for part in command])
    )
    return seen


def programs(monkeypatch, *names):
    monkeypatch.setattr(setup.shutil, "which", lambda name, **options: "/usr/bin/" + name if name in names else None)


def test_root_installs_only_what_is_missing(commands, monkeypatch):
    programs(monkeypatch, "apt-get")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    setup.install_packages(["zstd", "gcc"])
    assert [command[2:4] for command in commands] == [["apt-get", "-qq"]] * 2
    assert commands[1][-2:] == ["zstd", "gcc"]


def test_the_output_of_a_package_manager_goes_to_a_file(tmp_path, capfd):
    log = tmp_path / "cache" / "apt.log"
    setup.run_quietly(["sh", "-c", "seq 500"], "no", log)
    assert str(log) in capfd.readouterr().err and len(log.read_text().splitlines()) == 500
    with pytest.raises(setup.SetupError, match="no: .*its whole output is in"):
        setup.run_quietly(["sh", "-c", "seq 600 >&2; exit 1"], "no", log)
    shown = capfd.readouterr().err.splitlines()
    assert len(shown) == 1 + setup.LINES_OF_A_FAILURE and shown[-1] == "600"


def test_without_root_and_sudo_the_command_is_named(commands, monkeypatch):
    programs(monkeypatch, "apt-get")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    with pytest.raises(setup.SetupError, match="as root run: apt-get install --no-install-recommends zstd$"):
        setup.install_packages(["zstd"])
    assert not commands


def test_elsewhere_than_debian_the_programs_are_named(commands, monkeypatch):
    programs(monkeypatch)
    assert setup.missing_packages({"podman": "podman", "netavark": None}) == ["podman"]
    with pytest.raises(setup.SetupError, match="not Debian or Ubuntu.*podman"):
        setup.install_packages(["podman"])


def test_programs_are_unpacked_once_and_nothing_is_installed(tmp_path, monkeypatch):
    commands = []

    def run(command, _why, _log, cwd=None):
        commands.append(command[:2] if command[0] == "dpkg-deb" else command[2:])
        if "download" in command:
            (pathlib.Path(cwd) / "a_1_all.deb").touch()
        else:
            (pathlib.Path(command[-1]) / "usr" / "bin").mkdir(parents=True)

    monkeypatch.setattr(setup, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(setup, "run_quietly", run)
    programs(monkeypatch, "apt-get", "b")
    there = [str(tmp_path / "cache" / "programs" / "a" / "usr" / kind) for kind in ("bin", "sbin")]
    assert setup.unpacked({"a": "program-of-a", "b": "b"}) == there and os.path.isdir(there[0])
    assert commands == [["download", "a"], ["dpkg-deb", "--extract"]]
    assert setup.unpacked({"a": "program-of-a", "b": "b"}) == there and len(commands) == 2
    programs(monkeypatch)
    with pytest.raises(setup.SetupError, match="c is missing and this is not Debian or Ubuntu"):
        setup.unpacked({"c": "c"})


def test_a_list_of_packages_that_is_missing_is_read(tmp_path, monkeypatch):
    commands = []

    def run(command, _why, _log, cwd=None):
        commands.append(command[-1])
        if "download" in command and "update" not in commands:
            raise setup.SetupError("no such package")
        if "download" in command:
            (pathlib.Path(cwd) / "a_1_all.deb").touch()
        elif command[0] == "dpkg-deb":
            (pathlib.Path(command[-1]) / "usr" / "bin").mkdir(parents=True)

    monkeypatch.setattr(setup, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(setup, "run_quietly", run)
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    programs(monkeypatch, "apt-get")
    assert setup.unpacked({"a": "a"}) and commands[:3] == ["a", "update", "a"]


@pytest.fixture
def requirements(monkeypatch, tmp_path):
    """A file of requirements; environments can be made for it."""
    monkeypatch.setattr(setup, "run", make)
    monkeypatch.setattr(setup, "probe", lambda python: ("3.13", str(python)))
    path = tmp_path / "requirements.txt"
    path.write_text("one==1\n", encoding="ascii")
    make.seen = []
    return path


def make(command, why, **options):
    """What python -m venv and pip do, in short."""
    make.seen.append(command)
    if "venv" in command:
        command[-1].mkdir(parents=True, exist_ok=True)


def test_an_environment_is_made_once_and_other_requirements_have_another(commands, requirements):
    first = setup.virtual_environment("test", sys.executable, requirements)
    assert first.parent == setup.CACHE and len(make.seen) == 2
    assert setup.virtual_environment("test", sys.executable, requirements) == first and len(make.seen) == 2
    requirements.write_text("one==2\n", encoding="ascii")
    second = setup.virtual_environment("test", sys.executable, requirements)
    assert second != first and first.exists() and len(make.seen) == 4


def test_an_environment_that_does_not_work_any_more_is_made_again(commands, requirements, monkeypatch):
    monkeypatch.setattr(setup, "probe", lambda python: None)
    setup.virtual_environment("test", sys.executable, requirements)
    setup.virtual_environment("test", sys.executable, requirements)
    assert len(make.seen) == 4


def test_environments_that_were_not_used_for_long_are_removed(commands, requirements):
    """Those of other names are left alone, and use counts, not creation."""
    old, used, other = (setup.CACHE / name for name in ("test-3.13-aaaaaaaa", "test-3.13-bbbbbbbb", "core-2.17-cccc"))
    for home in (old, used, other):
        home.mkdir(parents=True)
        (home / "stamp").touch()
    long_ago = time.time() - 86400 * setup.UNUSED_DAYS - 60
    for home in (old, other):
        os.utime(home / "stamp", (long_ago, long_ago))
    home = setup.virtual_environment("test-3.13", sys.executable, requirements)
    assert not old.exists() and used.exists() and other.exists()
    os.utime(home / "stamp", (long_ago, long_ago))
    assert setup.virtual_environment("test-3.13", sys.executable, requirements) == home and len(make.seen) == 2


def test_the_python_with_the_newest_core_is_taken(monkeypatch):
    monkeypatch.delenv("GPUFLEET_PYTHON", raising=False)
    monkeypatch.setattr(setup, "interpreters", lambda: {"3.9": "/a", "3.11": "/b", "3.12": "/c"})
    assert setup.controller() == ("3.12", "/c")
    monkeypatch.setattr(setup, "interpreters", lambda: {"3.9": "/a"})
    assert setup.controller() is None


def test_a_wished_python_that_cannot_do_it_is_refused(monkeypatch):
    monkeypatch.setenv("GPUFLEET_PYTHON", "/nowhere/python")
    with pytest.raises(setup.SetupError, match="GPUFLEET_PYTHON=/nowhere/python"):
        setup.controller()


def test_a_failing_command_is_one_sentence():
    with pytest.raises(setup.SetupError, match="^packages could not be installed: "):
        setup.run([sys.executable, "-c", "raise SystemExit(3)"], "packages could not be installed")
