# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The parts of the rig's hosts that need no host: names, inventory, differences between snapshots, error messages."""

from __future__ import annotations

import pytest
import yaml

from tests.rig import settings
from tests.rig.__main__ import main
from tests.rig.hosts import ansible, changes, fleet, gpus, limits, podman
from tests.rig.settings import RigError


@pytest.mark.parametrize(
    ("text", "preset"),
    [
        ("2xA6000", "rtx-a6000-x2"),
        ("1xa6000", "rtx-a6000"),
        ("2x4090", "rtx-4090-x2"),
        ("8xH100", "h100-x8"),
        ("mixed", "mixed"),
        ("none", "none"),
        ("no-devices", "no-devices"),
    ],
)
def test_gpus_by_their_short_name(text, preset):
    assert gpus.preset_name(text) == preset


@pytest.mark.parametrize("text", ["3xA6000", "2x3090", "2xfoo", "A6000", "2x", "2xNVIDIA GeForce", ""])
def test_gpus_that_the_rig_does_not_have(text):
    with pytest.raises(RigError, match="write 2xA6000"):
        gpus.preset_name(text)


def test_hosts_of_the_command_line():
    assert fleet.parse_hosts("a=2xA6000,b=none,web-1") == {"a": "rtx-a6000-x2", "b": "none", "web-1": "none"}


@pytest.mark.parametrize("text", ["", "A=none", "a=none,a=none", "../x=none", "a b=none", "-a"])
def test_hosts_that_cannot_be(text):
    with pytest.raises(RigError, match="--hosts"):
        fleet.parse_hosts(text)


def test_the_inventory_is_yaml_and_leaves_localhost_alone(tmp_path):
    ansible.write_inventory(
        tmp_path / "i.yml", {"a": "set-a", "b": "set-b"}, tmp_path / "pod man", {"rig_registry": "10.0.0.1:5000"}
    )
    written = yaml.safe_load((tmp_path / "i.yml").read_text())
    assert set(written) == {"rig"}
    assert written["rig"]["hosts"] == {"a": {"ansible_host": "set-a"}, "b": {"ansible_host": "set-b"}}
    variables = written["rig"]["vars"]
    assert (
        variables["ansible_pipelining"] is True
        and variables["ansible_user"] == "rig"
        and "ansible_become" not in variables
    )
    assert (
        variables["ansible_podman_executable"] == str(tmp_path / "pod man")
        and variables["rig_registry"] == "10.0.0.1:5000"
    )
    ansible.write_inventory(tmp_path / "i.yml", {}, tmp_path, {})
    assert yaml.safe_load((tmp_path / "i.yml").read_text())["rig"]["hosts"] == {}


def test_differences_between_snapshots():
    before = {"/a": "1", "/b": "1", "/c": "1"}
    assert changes.compare(before, {"/a": "1", "/b": "2", "/d": "1"}) == ["C /b: 1 -> 2", "D /c", "A /d"]
    assert changes.compare(before, dict(before)) == []


def test_a_free_pair_of_subnets_is_found(tmp_path, monkeypatch):
    """The addresses in the routing table are hexadecimal, with the last byte first."""
    routes = tmp_path / "route"
    monkeypatch.setattr(podman, "ROUTES", routes)
    routes.write_text("Iface\tDestination\n")
    assert podman._subnets() == ["--subnet", "10.89.66.0/24", "--subnet", "10.89.67.0/24"]
    routes.write_text("Iface\tDestination\npodman1\t0043590A\n")
    assert podman._subnets()[1] == "10.89.68.0/24"


def test_missing_programs_are_named_with_their_packages(monkeypatch):
    monkeypatch.setattr(settings, "find_program", lambda name: None)
    with pytest.raises(RigError, match="apt-get install -y --no-install-recommends podman runc netavark aardvark-dns"):
        settings.require_programs("podman", "runc")


def test_neither_root_nor_sudo(monkeypatch):
    monkeypatch.setattr(settings.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(settings.shutil, "which", lambda name: None)
    with pytest.raises(RigError, match="there is no sudo here"):
        settings.root_prefix()


@pytest.mark.parametrize("arguments", [["--set", "../x", "status"], ["up", "--hosts", "a=5xNothing"], ["requests"]])
def test_a_mistake_is_one_sentence(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("GPUFLEET_CACHE", str(tmp_path))
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said


def test_inotify_instances_are_raised_or_their_lack_is_said(tmp_path, monkeypatch):
    setting = tmp_path / "max_user_instances"
    setting.write_text("128\n")
    monkeypatch.setattr(limits, "root_prefix", list)
    assert limits.raise_inotify(setting) == "" and int(setting.read_text()) == limits.ENOUGH
    setting.write_text("128\n")
    monkeypatch.setattr(limits, "root_prefix", lambda: ["false"])
    assert "is 128 on this machine" in limits.raise_inotify(setting)
    assert "sysctl -w fs.inotify.max_user_instances=8192" in limits.raise_inotify(setting)
    setting.write_text("100000\n")
    assert limits.raise_inotify(setting) == "" and int(setting.read_text()) == 100000


def test_the_memory_of_a_host_changes_in_place(tmp_path, monkeypatch, capsys):
    """The host has the file, not its name, so that it must stay the same file."""
    monkeypatch.setattr(fleet, "set_directory", lambda name: tmp_path)
    monkeypatch.setattr(fleet, "require_host", lambda name, host: host)
    fleet.set_memory("mine", "a", fleet.MEMORY_BYTES)
    fleet.set_memory("mine", "b", fleet.MEMORY_BYTES)
    file, other = tmp_path / "meminfo-a", (tmp_path / "meminfo-b").read_text()
    before = file.stat().st_ino
    assert file.read_text().splitlines()[:3] == [
        "MemTotal:       536870912 kB",
        "MemFree:        520093696 kB",
        "MemAvailable:   520093696 kB",
    ]
    assert main(["--set", "mine", "memory", "a", "8G"]) == 0
    assert file.stat().st_ino == before and (tmp_path / "meminfo-b").read_text() == other
    assert "MemTotal:         8388608 kB\nMemFree:          6291456 kB\n" in file.read_text()
    assert main(["--set", "mine", "memory", "a", "much"]) == 1 and "number of bytes" in capsys.readouterr().err
