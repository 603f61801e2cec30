# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Properties: less evidence never turns a failure into a pass, and turns a pass into a pass or into "unproven" only."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.gpus import state
from tests.unit.plugins.module_utils.evidence.builders import NAME, documented_lies, findings
from tests.unit.plugins.module_utils.evidence.less import UNKNOWN, less, pieces
from tests.unit.plugins.module_utils.evidence.told_hosts import CONTRADICTIONS, LIES
from tests.unit.plugins.module_utils.evidence.true_hosts import TRUTHS


@pytest.mark.parametrize("name", LIES)
def test_every_lie_fails_by_the_check_that_the_documentation_names(name):
    result = check_plan(*LIES[name])
    assert result.verdict == "fail"
    check, finding = documented_lies()[name]
    assert findings(result)[0] == finding
    found = [check.name for instance in result.instances for check in all_checks(instance) if check.passed is False]
    assert check in {name.partition(" ")[0] for name in found}, found


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_contradicts_itself_proves_nothing_and_no_remedy_changes_the_service(name):
    result = check_plan(*CONTRADICTIONS[name])
    assert (result.verdict, findings(result)) == ("unproven", ["unproven"])
    check, finding = documented_lies()[name]
    unknown = [one.name.partition(" ")[0] for one in all_checks(result.instances[0]) if one.passed is None]
    assert check in unknown and finding == "unproven"
    assert not {"Restart", "restart", "Set"} & set(result.diagnosis[0].remedy.split())


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_no_single_piece_less_proves_what_contradicts_itself(name):
    wanted, seen = CONTRADICTIONS[name]
    for number in range(len(pieces(seen))):
        assert check_plan(wanted, less(seen, [number])).verdict != "pass", number


def all_checks(instance):
    return instance.checks + [check for model in instance.models for check in model.checks]


def test_the_documentation_lists_the_lies_of_the_rig_and_of_the_judge():
    told = {*state.LIES, *state.ANSWER_LIES, *state.BLIND} - {"bytes_unknown", "unlisted"}
    assert set(documented_lies()) == told | set(LIES) | set(CONTRADICTIONS)


@pytest.mark.parametrize("name", TRUTHS)
def test_every_truth_passes(name):
    result = check_plan(*TRUTHS[name])
    assert result.verdict == "pass", result.diagnosis


@pytest.mark.parametrize("name", LIES)
def test_no_single_piece_less_makes_a_failure_a_pass(name):
    wanted, seen = LIES[name]
    for number in range(len(pieces(seen))):
        assert check_plan(wanted, less(seen, [number])).verdict != "pass", number


@pytest.mark.parametrize("name", TRUTHS)
def test_no_single_piece_less_makes_a_pass_a_failure(name):
    wanted, seen = TRUTHS[name]
    for number in range(len(pieces(seen))):
        result = check_plan(wanted, less(seen, [number]))
        assert result.verdict != "fail", (number, result.diagnosis)
        assert (result.verdict == "pass") is (result.diagnosis == []), number


def test_every_field_of_what_is_observed_can_be_taken_away_or_is_a_claim():
    for shape, unknown in UNKNOWN.items():
        assert {field.name for field in dataclasses.fields(shape)} == set(unknown), shape


def test_what_is_taken_away_stays_away():
    """Also where a part of it is taken afterwards, and where several parts are."""
    _wanted, seen = LIES["one_layer"]
    paths = [path for path, _value in pieces(seen)]
    log = ("instances", "gpu0-1", "models", NAME, "log")
    layers, buffers, whole = (paths.index(log + part) for part in (("layers",), ("buffers",), ()))
    left = less(seen, [layers, buffers]).instances["gpu0-1"].models[NAME].log
    assert (left.layers, left.buffers) == (None, {}) and left.cache
    assert less(seen, [whole, layers]).instances["gpu0-1"].models[NAME].log is None
    assert seen.instances["gpu0-1"].models[NAME].log.layers == 48


NUMBERS = st.lists(st.integers(0, 200), max_size=12)


@settings(max_examples=300)
@given(st.sampled_from(sorted(LIES)), NUMBERS)
def test_less_evidence_never_makes_a_failure_a_pass(name, numbers):
    wanted, seen = LIES[name]
    assert check_plan(wanted, less(seen, numbers)).verdict != "pass"


@settings(max_examples=200)
@given(st.sampled_from(sorted(TRUTHS)), NUMBERS)
def test_less_evidence_makes_of_a_pass_a_pass_or_nothing_proven(name, numbers):
    wanted, seen = TRUTHS[name]
    result = check_plan(wanted, less(seen, numbers))
    assert result.verdict in ("pass", "unproven"), result.diagnosis


@settings(max_examples=200)
@given(st.sampled_from(sorted(LIES)), st.sampled_from(sorted(TRUTHS)), NUMBERS)
def test_what_is_not_proven_says_what_would_prove_it(lie, truth, numbers):
    for wanted, seen in (LIES[lie], TRUTHS[truth]):
        result = check_plan(wanted, less(seen, numbers))
        assert (result.verdict == "pass") is (not result.diagnosis)
        for entry in result.diagnosis:
            assert entry.evidence and entry.remedy.endswith(".")
