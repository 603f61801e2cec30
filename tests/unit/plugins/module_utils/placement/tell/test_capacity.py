# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Requests at the same time."""

from __future__ import annotations

from tests.unit.plugins.module_utils.placement.builders import TWO_4090, plan, wanted


def test_replicas_against_slots():
    report = plan(TWO_4090, wanted("llama3.1-8b"))["models"][0]["capacity"]
    assert report["instances"] == 2 and report["slots"] == 2 and report["slot_bytes"] == 8192 * 131072
    most = report["most_parallel"]
    assert most > 4 and plan(TWO_4090, wanted("llama3.1-8b", parallel=most))["models"][0]["capacity"]["instances"] == 2
    again = plan(TWO_4090, wanted("llama3.1-8b", parallel=most + 1, strategy="single"))
    assert not again["feasible"]
    warning = next(
        warning for warning in plan(TWO_4090, wanted("llama3.1-8b", replicas=5))["warnings"] if "replicas" in warning
    )
    assert (
        "2 of the 5" in warning and "parallel could be up to %d" % most in warning and "slot takes 1.0 GiB" in warning
    )
