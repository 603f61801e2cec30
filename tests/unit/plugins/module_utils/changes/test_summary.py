# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The difference in words."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import summary
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.schema import Changes

from tests.unit.plugins.module_utils.changes.builders import applied_host, difference, host, model, plan, serving

OPTIMIZED = "llama3.1:8b-optimized"


@pytest.fixture(name="wanted")
def _wanted():
    """A plan of one instance with one optimized model."""
    return plan(model(create_as=OPTIMIZED))


def test_the_difference_reads_as_text(wanted):
    lines = summary.summary_lines(difference(wanted, host()))
    assert "Fetch release 0.32.15: It is not installed." in lines
    assert "Start instance ollama@gpu0.service: ollama@gpu0.service is not known to systemd." in lines
    assert [line for line in lines if line.startswith("Load model %s on gpu0: " % OPTIMIZED)]
    assert [line for line in lines if line.startswith("Create model %s: " % OPTIMIZED)], "for all instances"
    nothing = summary.summary_lines(difference(wanted, applied_host(wanted), serving(wanted)))
    assert len(nothing) == 1 and nothing[0].startswith("Nothing on the host differs")
    warned = summary.summary_lines(Changes(notes=("N.",), obstacles=("O.",)))
    assert warned == ["Warning: N.", "Obstacle: O."]
