# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What of a plan is written down."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.written import as_written


def test_what_a_plan_changes_is_not_written():
    plan = {"steps_down": ["a steps down."], "moved_addresses": ["b moves."], "moved_tags": ["c moved."], "models": []}
    plan["warnings"] = ["a steps down.", "b moves.", "c moved.", "another"]
    cleared = {"steps_down": [], "moved_addresses": [], "moved_tags": []}
    assert as_written(plan) == {**cleared, "models": [], "warnings": ["another"]}
    assert plan["warnings"] == ["a steps down.", "b moves.", "c moved.", "another"]
    memory = {"total_bytes": 9, "available_bytes": 7, "swap_bytes": 1, "planned_bytes": 5, "notes": ["it would swap"]}
    written = as_written({"warnings": ["it would swap", "another"], "host_memory": memory})
    assert written["warnings"] == ["another"]
    assert written["host_memory"] == dict(memory, available_bytes=None, swap_bytes=None, notes=[])
    assert as_written({"warnings": ["another"]}) == {"warnings": ["another"]}
