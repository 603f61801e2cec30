# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The units of the gateway: what their sandbox does, and when systemd starts them again."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[5]
UNITS = ("ollama-gateway.service", "ollama-gateway-address.service")
both = pytest.mark.parametrize("unit", UNITS)


def path_of(unit):
    """Where a unit is in the role."""
    return CHECKOUT / "roles" / "ollama_gateway" / "files" / unit


def section(unit, name):
    """The lines of a section of a unit."""
    (found,) = re.findall(r"^\[%s\]\n((?:[^\[\n].*\n|\n)+)" % name, path_of(unit).read_text(encoding="utf-8"), re.M)
    return found.splitlines()


@both
def test_a_call_that_the_sandbox_refuses_fails_and_ends_nothing(unit):
    """By default HAProxy binds itself to a NUMA node (sched_setaffinity), and the kernel would end it (SIGSYS)."""
    lines = section(unit, "Service")
    assert "SystemCallFilter=@system-service" in lines and "SystemCallErrorNumber=EPERM" in lines


@both
def test_a_unit_is_started_again_for_as_long_as_it_fails(unit):
    """HAProxy does not start while a host name does not resolve. By default systemd gives up after five starts in ten
    seconds. The setting has no effect below [Service]."""
    assert "StartLimitIntervalSec=0" in section(unit, "Unit")
    assert {"Restart=always", "RestartSec=1"} <= set(section(unit, "Service"))


@both
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_guide_has_about_what_a_unit_exposes(unit):
    """Other releases of systemd count a little differently; tests/integration/test_sandbox_levels.py is exact."""
    guide = (CHECKOUT / "docs" / "docsite" / "rst" / "protection.rst").read_text(encoding="utf-8")
    (documented,) = re.findall(r"``%s``\s+\(([0-9.]+)\)" % re.escape(unit), guide)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path_of(unit))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze has no --offline")
    (found,) = re.findall(r"Overall exposure level for .*: ([0-9.]+) ", done.stdout)
    assert abs(float(found) - float(documented)) < 0.25
