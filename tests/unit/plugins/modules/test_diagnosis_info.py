# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module diagnosis_info: options and result."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.modules import diagnosis_info

from tests.unit.plugins.module_utils.diagnose.builders import A, broken, host, inventory
from tests.unit.plugins.modules.run_module import run_module


@pytest.mark.parametrize("check", [False, True])
def test_what_it_returns(monkeypatch, check):
    asked = []
    evidence = host(inventory=broken("timeout"))
    monkeypatch.setattr(diagnosis_info, "collect", lambda seconds, asks: asked.append((seconds, asks)) or evidence)
    result = run_module("diagnosis_info", {"seconds": 0}, check=check)
    assert asked == [(0, False)] and not result["changed"]
    assert [one["finding"] for one in result["findings"]] == ["driver_hangs"]
    assert result["lines"][-1] == "1 finding (1 certain)." and len(result["looked_at"]) == 2


def test_the_documentation_shows_what_is_returned(monkeypatch):
    documented = yaml.safe_load(diagnosis_info.RETURN)
    (sample,) = documented["findings"]["sample"]
    evidence = host(inventory=inventory(first={"pcie": {"width": 4, "max_width": 16}}))
    monkeypatch.setattr(diagnosis_info, "collect", lambda seconds, asks: evidence)
    result = run_module("diagnosis_info", {})
    assert result["findings"] == [dict(sample, subject=A)] and result["lines"] == documented["lines"]["sample"]


@pytest.mark.parametrize("seconds", [-1, 601])
def test_how_long_it_may_watch(seconds):
    assert "from 0 to 600" in run_module("diagnosis_info", {"seconds": seconds})["msg"]


def test_it_reads_this_machine():
    """Whatever is here: it ends with an answer, also without root and without GPUs."""
    result = run_module("diagnosis_info", {"seconds": 0})
    assert not result.get("failed") and result["looked_at"]
