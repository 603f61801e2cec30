# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan as a whole, and what it says of the release."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.placement.builders import TWO_4090, plan, wanted


def test_known_faults_of_a_release_are_said():
    assert any(
        "search" in warning for warning in plan(TWO_4090, wanted("llama3.1-8b"), ollama_version="0.12.11")["warnings"]
    )
    assert plan(TWO_4090, wanted("llama3.1-8b"))["warnings"] == []


@pytest.mark.parametrize(
    "version, words",
    [
        ("0.33.3", ["newer", "0.33.0"]),
        ("0.35.1", ["newer"]),
        ("0.99.0", ["newer"]),
        ("1.0.0", ["newer"]),
        ("0.1.0", ["older", "0.5.13"]),
    ],
)
def test_a_release_that_was_not_checked_is_said(version, words):
    result = plan(TWO_4090, wanted("llama3.1-8b"), ollama_version=version)
    assert result["feasible"] and all(word in " ".join(result["warnings"]) for word in [version] + words)


@pytest.mark.parametrize("version", ["0.33.0", "v0.32.15", "0.32.15-rc1", "0.32.14", "0.30.0"])
def test_a_checked_one_is_not(version):
    assert plan(TWO_4090, wanted("llama3.1-8b"), ollama_version=version)["warnings"] == []
