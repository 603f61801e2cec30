# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The ways that were not taken."""

from __future__ import annotations

from tests.unit.plugins.module_utils.placement.builders import GIB, TWO_4090, TWO_A6000, plan, wanted


def test_the_plan_shows_what_it_did_not_choose():
    report = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))["models"][0]
    assert [(entry["strategy"], len(entry["gpu_uuids"])) for entry in report["alternatives"]] == [("single", 1)]
    assert report["alternatives"][0]["shortfall_bytes"] > 15 * GIB
    report = plan(TWO_4090, wanted("llama3.1-8b"))["models"][0]
    assert [(entry["strategy"], entry["shortfall_bytes"]) for entry in report["alternatives"]] == [("split", 0)]


def test_alternatives_have_numbers_and_reasons():
    report = plan(TWO_A6000, wanted("llama4-scout", context_length=32768))["models"][0]
    assert report["alternatives"][0]["reason"].endswith("missing")
    report = plan(TWO_4090, wanted("llama3.1-8b"))["models"][0]
    assert (
        "fits on fewer GPUs" in report["alternatives"][0]["reason"]
        and report["alternatives"][0]["total_bytes"] > 5 * GIB
    )
