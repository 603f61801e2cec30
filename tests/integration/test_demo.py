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


#: Columns and lines of a small screen.
WIDEST, LINES = 80, 40


def test_the_demo_ends_with_an_overview_and_a_report(podman_hosts, tmp_path):
    copy_checkout(tmp_path)
    command = shown.command("make demo").split()
    try:
        told = run(command, cwd=tmp_path, env=environment(GPUFLEET_SET=SET, GPUFLEET_CACHE=str(CACHE)), timeout=1800)
        paths = [pathlib.Path(line.strip()) for line in told.splitlines() if re.match("  /[^ ]+$", line)]
        assert [path.name for path in paths] == ["report.html", "evidence"] and all(path.exists() for path in paths)
        assert len(list(paths[1].iterdir())) == 2
    finally:
        fleet.down(SET)
    assert told.count("Overview: 2 hosts, 2 proven") == 2, "the first run and the one that changes nothing"
    assert "Plan for Ollama 0.32.15 on b: feasible" in told and "Evidence on b. Verdict: pass" in told
    # What is simulated is said before and after, and what the words mean before they are used.
    begin, _plan, applied, again = re.split("^=== .*$", told, flags=re.MULTILINE)[1:5]
    assert "are simulated" in begin and "Nothing was computed" in told.split("=== What you have seen")[1]
    assert told.index("  untouched  what this Ollama") < told.index("    untouched  ")
    assert applied.index("  observed   MiB by NVML") < applied.index("predicted  engine  observed")
    last_screen = told[told.index(again) :].splitlines()
    assert "Overview: 2 hosts, 2 proven" in last_screen and len(last_screen) <= LINES, len(last_screen)
    others = [line for line in told.splitlines() if str(CACHE) not in line]
    assert max(map(len, others)) <= WIDEST, [line for line in others if len(line) > WIDEST]
