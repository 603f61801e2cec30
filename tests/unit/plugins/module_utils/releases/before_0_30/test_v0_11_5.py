# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.11.5 to 0.11.10."""

from __future__ import annotations

from tests.unit.plugins.module_utils.releases.loads import replayed


def test_every_recorded_decision_of_0_11_10_is_made_alike():
    assert replayed("B") == (474, [])
