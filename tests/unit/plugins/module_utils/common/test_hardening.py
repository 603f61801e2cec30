# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lines that every unit of the collection has, and what systemd says about the levels."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.unit_file import Sandbox, unit_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import hardening
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.fetch_server import FetchServer

DOCUMENTED = pathlib.Path(__file__).resolve().parents[5] / "docs" / "docsite" / "rst" / "protection.rst"
FETCH = FetchServer("/r", "/srv/models/fetch").unit_text()
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def test_all_units_have_the_lines():
    lines = hardening.HARDENING.splitlines()
    assert "NoNewPrivileges=true" in lines and all("=" in line for line in lines)
    for text in (unit_text("/srv/models"), unit_text("/srv/models", Sandbox("moderate")), FETCH):
        assert [line for line in lines if line not in text.splitlines()] == []


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ("/var/lib/ollama-multigpu/instances/%i", ["ProtectHome=true"]),
        ("/homework/%i", ["ProtectHome=true"]),
        ("/home/models/%i", ["ProtectHome=tmpfs", "BindPaths=/home/models/%i"]),
        ("/root/models/%i", ["ProtectHome=tmpfs", "BindPaths=/root/models/%i"]),
        # What systemd would take for two paths, or for a line of its own.
        ("/home/big disk/%i", ["ProtectHome=read-only"]),
        ("/home/x\nUser=root/%i", ["ProtectHome=read-only"]),
    ],
)
def test_homes_are_hidden_but_for_a_store_in_one(place, lines):
    assert hardening.homes(place, place).splitlines() == lines


@pytest.mark.parametrize(
    ("place", "named", "real_home", "bound"),
    [
        ("/data/models/%i", "/home/models/%i", "/home", "/data/models/%i:/home/models/%i"),
        ("/home/n/%i", "/home/m/%i", "/home", "/home/n/%i:/home/m/%i"),
        ("/root/m/%i", "/home/m/%i", "/home", "/root/m/%i:/home/m/%i"),
        # A link that systemd follows.
        ("/home/m/%i", "/srv/m/%i", "/home", "/home/m/%i"),
        # The home itself is a link.
        ("/var/home/m/%i", "/home/m/%i", "/var/home", "/var/home/m/%i:/home/m/%i"),
        ("/var/home/m/%i", "/var/home/m/%i", "/var/home", "/var/home/m/%i"),
        ("/var/home/m/%i", "/srv/m/%i", "/var/home", "/var/home/m/%i"),
    ],
)
def test_a_store_behind_a_link_is_there_under_the_name_that_the_service_has(place, named, real_home, bound):
    """Each was tried with systemd 252."""
    lines = hardening.homes(place, named, [real_home, "/root", "/run/user"]).splitlines()
    assert lines == ["ProtectHome=tmpfs", "BindPaths=" + bound]


@pytest.mark.parametrize(("place", "named"), [("/data/big disk/%i", "/home/m/%i"), ("/data/m/%i", "/home/a:b/%i")])
def test_a_store_behind_a_link_without_a_plain_path(place, named):
    assert hardening.homes(place, named).splitlines() == ["ProtectHome=read-only"]


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("strict", "strict"),
        ("off", "off"),
        (False, "off"),
        ("False", "off"),
        (True, None),
        ("none", None),
        (None, None),
    ],
)
def test_levels_by_what_yaml_makes_of_them(value, level):
    assert hardening.level_of(value) == level


def exposure(text, path):
    """What `systemd-analyze security` gives a unit, 0 to 10."""
    path.write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+) ", done.stdout)
    if found is None and "offline" in done.stderr:
        pytest.skip("this systemd-analyze has no --offline")
    assert found, done.stderr
    return float(found[1])


@needs_systemd
@pytest.mark.parametrize("level", hardening.LEVELS)
def test_the_exposure_of_each_level_is_documented(level, tmp_path):
    """Other releases of systemd count a little differently."""
    (documented,) = re.findall(r"\* - ``%s``\n     - ([0-9.]+)\n" % level, DOCUMENTED.read_text(encoding="utf-8"))
    found = exposure(unit_text("/srv/models", Sandbox(level)), tmp_path / "ollama@.service")
    assert abs(found - float(documented)) <= 0.2
    if level != hardening.OFF:
        assert found <= 1.9


@needs_systemd
@pytest.mark.parametrize("text", [FETCH, unit_text("/home/models")], ids=["fetch server", "models below a home"])
def test_the_exposure_of_other_units(text, tmp_path):
    assert exposure(text, tmp_path / "ollama@.service") <= 1.9
