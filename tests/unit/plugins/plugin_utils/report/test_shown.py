# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the tasks of the role show, in full and in short, and the evidence as a table."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.shown import NothingToShow, shown
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, columns_of, drawn

from tests.unit.plugins.plugin_utils.report.made_plans import evidence_of, planned

GEMMA = {"name": "gemma3:27b", "context_length": 8192}
STYLE = Style()


def both(**options):
    found = shown(options, STYLE, "gpu-a")
    return drawn(STYLE, found.lines), drawn(STYLE, found.short), found.overview


def test_a_plan_that_is_in_force_is_one_line():
    plan = planned(GEMMA)
    lines, short, overview = both(plan=plan, applied=plan)
    assert len(lines) > 10
    assert short == ["gpu-a  gemma3:27b-optimized 2 replicas on GPU 0 and 1, as before"]
    assert overview["in_force"] and overview["feasible"] and len(overview["gpus"]) == 2
    assert overview["served"][1] == ["http://127.0.0.1:11435", ["gemma3:27b-optimized"]]


def test_a_warning_is_shown_again_only_where_it_is_new():
    before, after = planned(GEMMA), dict(planned(GEMMA), warnings=["known", "new"])
    before["warnings"] = ["known"]
    _lines, short, _overview = both(plan=after, applied=before)
    assert short[1:] == ["  Warning: new"]


def test_a_plan_with_another_environment_has_the_same_places():
    before, after = planned(GEMMA), planned(GEMMA)
    after["instances"][0]["environment"]["OLLAMA_KEEP_ALIVE"] = "24h"
    _lines, short, overview = both(plan=after, applied=before)
    assert len(short) == 1 and not overview["in_force"]


def test_another_plan_is_shown_whole():
    lines, short, overview = both(plan=planned(GEMMA), applied=planned(dict(GEMMA, parallel=2)))
    assert short == lines and not overview["in_force"]


def test_a_diagnosis_is_its_sentences_and_their_number():
    findings = [{"finding": "xid", "confidence": name} for name in ("certain", "possible", "possible")]
    lines, short, overview = both(
        diagnosis={"looked_at": ["Driver 1; GPU 0 (L4, GPU-1)."], "lines": ["xid: seen."], "findings": findings}
    )
    assert lines == short == ["gpu-a: Driver 1; GPU 0 (L4, GPU-1).", "gpu-a: xid: seen."]
    assert overview == {"kind": "diagnosis", "findings": {"certain": 1, "possible": 2}}


def test_evidence():
    plan = planned({"name": "llama4:16x17b", "context_length": 32768})
    lines, short, overview = both(evidence=evidence_of(plan), plan=plan)
    assert lines == [
        "Evidence on gpu-a. Verdict: pass",
        "    MiB    layers  predicted  engine  observed         allowed  busy",
        "  llama4:16x17b-optimized on gpu0-1: pass, 41.5 tokens/s, loaded in 12 s",
        "    GPU 0   25/49      34174   33876     34174  34110 to 34238  87 %",
        "    GPU 1   24/49      32448   32150     32448  32384 to 32512  87 %",
    ]
    assert short == [] and overview["verdict"] == "pass" and len(overview["observed"]) == 2


def test_evidence_that_does_not_pass_is_shown_with_what_is_wrong():
    plan = planned(GEMMA)
    found = evidence_of(plan, "fail", name="setting slots", passed=False, expected="1", observed="2")
    found["diagnosis"] = [{"finding": "foreign_process", "evidence": "x", "remedy": "y."}]
    lines, short, _overview = both(evidence=found, plan=plan)
    assert short == lines and lines[0].endswith("Verdict: fail")
    assert "  gemma3:27b-optimized: setting slots is not as planned: 2 instead of 1" in lines
    assert lines[-1] == "  foreign_process: x. Remedy: y."


def test_details_of_evidence_fit_80_columns():
    plan = planned({"name": "llama4:16x17b", "context_length": 32768})
    style = Style(details=True)
    lines = drawn(style, shown({"evidence": evidence_of(plan), "plan": plan}, style, "gpu-a").lines)
    assert max(map(columns_of, lines)) <= 80
    assert [line for line in lines if line.startswith("      GPU-00000001-") and "context 298, projector " in line], (
        lines
    )


def test_what_is_not_proven_is_said():
    plan = planned(GEMMA)
    lines = both(evidence=evidence_of(plan, "unproven", name="memory", passed=None, expected="1", observed=None))[0]
    assert "  gemma3:27b-optimized: memory is not proven: unknown instead of 1" in lines


def test_a_switch_and_its_end():
    given = {"switch": {"title": "gpu0", "why": ["Restart instance gpu0: why not."]}}
    detailed = dataclasses.replace(STYLE, details=True)
    lines = drawn(detailed, shown(given, detailed, "gpu-a").lines)
    assert lines == ["Switching gpu0 on gpu-a:", "  Restart instance gpu0: why not."]
    lines, short, _overview = both(**given)
    assert lines == short == ["Switching gpu0 on gpu-a: 1 change"], "the list of changes has said the rest"
    checked = both(**given, check_mode=True)
    assert checked[:2] == (["Would switch gpu0 on gpu-a: 1 change"], [])
    ended = both(switched={"seconds_without_answer": {"gpu0": 3.2}})[0]
    assert (
        " ".join(" ".join(ended).split())
        == "gpu-a: gpu0 gave no answer for 3.2 s, from its stop until its models were loaded."
    )


def test_a_switch_that_failed_shows_both_pieces_of_evidence():
    plan = planned(GEMMA)
    found = {"failed": True, "evidence": evidence_of(plan, "fail"), "evidence_before": evidence_of(plan)}
    lines = both(switched=found, plan=plan)[0]
    assert [line for line in lines if line.startswith("Evidence")] == [
        "Evidence on gpu-a. Verdict: fail",
        "Evidence on gpu-a. Verdict: pass",
    ]
    assert both(switched={"failed": True, "msg": "no"})[0] == []


def test_nothing_to_show():
    with pytest.raises(NothingToShow, match="give one of diagnosis, difference, evidence"):
        both()
