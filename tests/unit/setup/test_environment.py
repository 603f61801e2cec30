# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""environment.py installs once, and stops with a message if it cannot."""

from __future__ import annotations

import sys

import pytest

from tests.setup import environment as setup


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Commands that would be run, instead of running them; the cache is empty."""
    seen = []
    monkeypatch.setattr(setup, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(setup, "run", lambda command, why, **options: seen.append([str(part) for part in command]))
    return seen


def programs(monkeypatch, *names):
    monkeypatch.setattr(setup.shutil, "which", lambda name, **options: "/usr/bin/" + name if name in names else None)


def test_root_installs_only_what_is_missing(commands, monkeypatch):
    programs(monkeypatch, "apt-get")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    setup.install_packages(["zstd", "gcc"])
    assert [command[2:4] for command in commands] == [["apt-get", "-qq"]] * 2
    assert commands[1][-2:] == ["zstd", "gcc"]


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


def test_an_environment_is_made_once_and_again_when_the_requirements_change(commands, monkeypatch, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("one==1\n", encoding="ascii")
    monkeypatch.setattr(setup, "probe", lambda python: ("3.13", str(python)))
    home = setup.CACHE / "test"
    home.mkdir(parents=True)
    for text, expected in (("one==1\n", 2), ("one==1\n", 2), ("one==2\n", 4)):
        requirements.write_text(text, encoding="ascii")
        assert setup.virtual_environment("test", sys.executable, requirements) == home
        assert len(commands) == expected


def test_an_environment_that_does_not_work_any_more_is_made_again(commands, monkeypatch, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("one==1\n", encoding="ascii")
    (setup.CACHE / "test").mkdir(parents=True)
    monkeypatch.setattr(setup, "probe", lambda python: None)
    setup.virtual_environment("test", sys.executable, requirements)
    setup.virtual_environment("test", sys.executable, requirements)
    assert len(commands) == 4


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
