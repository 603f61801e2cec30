# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.11.11 to 0.12.10."""

from __future__ import annotations

from tests.unit.plugins.module_utils.releases.loads import replayed


def test_every_recorded_decision_of_0_12_10_is_made_alike():
    assert replayed("C") == (532, [])
