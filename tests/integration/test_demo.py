# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The demo of README.md, in a checkout of its own and with hosts of its own."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests import shown
from tests.integration.acceptance import SET
from tests.integration.support import copy_checkout, environment, run
from tests.rig.hosts import fleet
from tests.setup.environment import CACHE

pytestmark = [pytest.mark.hosts, pytest.mark.full]


def test_the_demo_ends_with_an_overview_and_a_report(podman_hosts, tmp_path):
    copy_checkout(tmp_path)
    command = shown.command("make demo").split()
    try:
        told = run(command, cwd=tmp_path, env=environment(GPUFLEET_SET=SET, GPUFLEET_CACHE=str(CACHE)), timeout=1800)
    finally:
        fleet.down(SET)
    assert told.count("Overview: 2 hosts, 2 proven") == 2, "the first run and the one that changes nothing"
    assert "Plan for Ollama 0.32.15 on b: feasible" in told and "Evidence on b. Verdict: pass" in told
    end = told.split("=== What you have seen")[1]
    assert "Nothing was computed" in end
    (report,) = re.findall(r"^report of all hosts as HTML +(\S+)$", end, re.MULTILINE)
    assert pathlib.PurePath(report).name == "report.html"
