# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Properties: less evidence never turns a failure into a pass, and turns a pass into a pass or into "unproven" only."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.gpus import state
from tests.unit.plugins.module_utils.evidence.builders import (
    ARGUMENTS,
    GIB,
    LISTED,
    MIB,
    NAME,
    OVERHEAD,
    UNIT,
    WITHOUT_LOG,
    A,
    B,
    documented_lies,
    findings,
    gpu,
    log,
    observations,
    plan,
)

TRUE = {A: 33 * GIB + OVERHEAD, B: 32 * GIB + OVERHEAD}
SMALL = {"weight_bytes": 70 * MIB, "kv_bytes": 20 * MIB, "compute_bytes": 10 * MIB}


def changed(change, **options):
    """Observations to which a function was applied."""
    seen = observations(**options)
    change(seen)
    return seen


def with_engine(**changes):
    own = observations().instances["gpu0-1"].models[NAME].engine
    return observations(engine=dataclasses.replace(own, **changes))


def small():
    wanted = plan({A: 100 * MIB}, outcome="single")
    wanted["instances"][0]["models"][0]["predicted"]["devices"][0].update(SMALL)
    return wanted


def on_the_cpu():
    """A plan for the CPU."""
    wanted = plan({})
    wanted["instances"][0]["models"][0]["predicted"].update(gpu_layers=0)
    return wanted


OUTSIDE = dict(gpu(B, 1, 300 * MIB), uuid="GPU-cccccccc", index=2)
ELSEWHERE = {A: 33 * GIB, B: 32 * GIB}
#: (plan, observations) of hosts that are not as planned.
LIES = {
    "one_gpu": (plan(), observations(held={A: 65 * GIB, B: 300 * MIB})),
    "contexts_only": (plan(), observations(held={A: 300 * MIB, B: 300 * MIB})),
    "nothing": (plan(), observations(held={})),
    "leftover": (
        plan(),
        observations(held={A: OVERHEAD, B: OVERHEAD}, others={u: [(99, size, UNIT)] for u, size in ELSEWHERE.items()}),
    ),
    "foreign": (
        plan(),
        observations(held={A: OVERHEAD, B: OVERHEAD}, others={u: [(77, size, None)] for u, size in ELSEWHERE.items()}),
    ),
    "less": (plan(), observations(held={uuid: int(size * 0.91) for uuid, size in TRUE.items()})),
    "swapped": (plan(), observations(held={A: TRUE[B], B: TRUE[A]})),
    "no_cache": (plan(), observations(held={uuid: size - GIB for uuid, size in TRUE.items()})),
    "far": (plan(), observations(held={uuid: size * 3 // 2 for uuid, size in TRUE.items()})),
    "one_layer": (plan(), observations(log=log(layers=(48, 49)))),
    "size_vram": (
        plan(),
        observations(ps={"name": NAME, "size": 66 * GIB, "size_vram": 60 * GIB, "context_length": 32768}),
    ),
    "dry_run": (plan(), observations(log=log(dry_run={"CUDA0": 35 * GIB, "CUDA1": 32 * GIB}))),
    "buffers": (plan(), observations(log=log({"CUDA0": 30 * GIB, "CUDA1": 32 * GIB, "CPU": GIB}))),
    "buffers_on_cpu": (plan(), observations(log=log({"CPU": 64 * GIB}, dry_run={}))),
    "idle": (plan(), observations(utilization_peak={A: 0, B: 0}, busy_processes={A: {}, B: {}})),
    "busy_other": (plan(), observations(busy_processes={A: {77: 47}, B: {77: 44}})),
    "context_length": (
        plan(),
        observations(ps={"name": NAME, "size": 66 * GIB, "size_vram": 66 * GIB, "context_length": 4096}),
    ),
    "settings": (plan(), with_engine(arguments=list(ARGUMENTS) + ["-c", "4096"])),
    "dead": (plan(), observations(died="the process ended", stayed=None)),
    "silent": (plan(), observations(generation_error="no progress", answered=None)),
    "stopped": (plan(), changed(lambda seen: seen.instances["gpu0-1"].unit.update(ActiveState="failed"))),
    "not_loaded": (plan(), observations(loaded=False)),
    "beside": (plan(), changed(lambda seen: seen.instances["gpu0-1"].loaded.append("stray:latest"))),
    "outside": (
        plan({A: 6 * GIB}, outcome="single"),
        changed(
            lambda seen: seen.inventory["gpus"].append(dict(OUTSIDE, processes=[dict(LISTED, used_bytes=300 * MIB)])),
            held={A: 6 * GIB},
            **WITHOUT_LOG,
        ),
    ),
    "lost": (plan(), changed(lambda seen: seen.inventory["gpus"][1]["health"].update(state="unusable"))),
    "driver": (plan(), changed(lambda seen: seen.inventory.update(state="version_mismatch"))),
    "headroom": (plan(), observations(others={A: [(77, 14 * GIB, None)]})),
    "small_busy_other": (
        small(),
        observations(held={A: OVERHEAD}, utilization_peak={A: 87}, busy_processes={A: {77: 87}}, **WITHOUT_LOG),
    ),
    "small_nothing": (small(), observations(held={}, **WITHOUT_LOG)),
    "cpu_with_context": (on_the_cpu(), observations(held={A: OVERHEAD}, **WITHOUT_LOG)),
}
#: (plan, observations) of hosts that are as planned.
TRUTHS = {
    "split": (plan(), observations()),
    "without the journal": (plan(), observations(**WITHOUT_LOG)),
    "bytes unknown": (
        plan(),
        changed(lambda seen: [gpu["processes"][0].update(used_bytes=None) for gpu in seen.inventory["gpus"]]),
    ),
    "small": (
        small(),
        observations(
            held={A: 100 * MIB + OVERHEAD}, utilization_peak={A: 3}, busy_processes={A: {4242: 3}}, **WITHOUT_LOG
        ),
    ),
    "on the CPU": (on_the_cpu(), observations(held={}, **WITHOUT_LOG)),
}


def _of_dict(container, key):
    def take():
        container[key] = None

    return take


def _of_object(owner, name, value=None):
    def take():
        setattr(owner, name, value)

    return take


def takers(seen):
    """Functions that take one piece of evidence away: they make it unknown, and never claim something else."""
    found = [_of_dict(seen.inventory, "state")]
    for fact in seen.inventory["gpus"]:
        found += [_of_dict(fact, "processes"), _of_dict(fact["health"], "state")]
        found += [_of_dict(fact["memory"], name) for name in ("used_bytes", "free_bytes")]
        found += [_of_dict(process, "used_bytes") for process in fact["processes"]]
    instance = seen.instances["gpu0-1"]
    found += [_of_dict(instance.unit, "ActiveState"), _of_object(instance, "loaded")]
    model = instance.models[NAME]
    unknown = "engine died stayed answered generation_error log utilization_peak busy_processes not_generated"
    found += [_of_object(model, name) for name in unknown.split()]
    found += [_of_object(model, "ps", {}), _of_object(model, "device_uuids", {})]
    found += [_of_dict(model.ps, name) for name in model.ps or ()]
    for name, empty in (("layers", None), ("buffers", {}), ("dry_run", {}), ("compute", {})):
        if model.log:
            found.append(_of_object(model, "log", dataclasses.replace(model.log, **{name: empty})))
    for name, empty in (("arguments", []), ("environment", None)):
        if model.engine:
            found.append(_of_object(model, "engine", dataclasses.replace(model.engine, **{name: empty})))
    return found


def less(seen, numbers):
    """A copy of the observations without the pieces of evidence of these numbers."""
    left = copy.deepcopy(seen)
    pieces = takers(left)
    for number in numbers:
        pieces[number % len(pieces)]()
    return left


@pytest.mark.parametrize("name", LIES)
def test_every_lie_fails_by_the_check_that_the_documentation_names(name):
    result = check_plan(*LIES[name])
    assert result.verdict == "fail"
    check, finding = documented_lies()[name]
    assert findings(result)[0] == finding
    found = [check.name for instance in result.instances for check in all_checks(instance) if check.passed is False]
    assert check in {name.partition(" ")[0] for name in found}, found


def all_checks(instance):
    return instance.checks + [check for model in instance.models for check in model.checks]


def test_the_documentation_lists_the_lies_of_the_rig_and_of_the_judge():
    told = {name for name in (*state.LIES, *state.BLIND) if name not in ("bytes_unknown", "unlisted")}
    assert set(documented_lies()) == told | set(LIES)


@pytest.mark.parametrize("name", TRUTHS)
def test_every_truth_passes(name):
    result = check_plan(*TRUTHS[name])
    assert result.verdict == "pass", result.diagnosis


@pytest.mark.parametrize("name", LIES)
def test_no_single_piece_less_makes_a_failure_a_pass(name):
    wanted, seen = LIES[name]
    for number in range(len(takers(copy.deepcopy(seen)))):
        assert check_plan(wanted, less(seen, [number])).verdict != "pass", number


@pytest.mark.parametrize("name", TRUTHS)
def test_no_single_piece_less_makes_a_pass_a_failure(name):
    wanted, seen = TRUTHS[name]
    for number in range(len(takers(copy.deepcopy(seen)))):
        result = check_plan(wanted, less(seen, [number]))
        assert result.verdict != "fail", (number, result.diagnosis)
        assert (result.verdict == "pass") is (result.diagnosis == []), number


NUMBERS = st.lists(st.integers(0, 200), max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(LIES)), NUMBERS)
def test_less_evidence_never_makes_a_failure_a_pass(name, numbers):
    wanted, seen = LIES[name]
    assert check_plan(wanted, less(seen, numbers)).verdict != "pass"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(TRUTHS)), NUMBERS)
def test_less_evidence_makes_of_a_pass_a_pass_or_nothing_proven(name, numbers):
    wanted, seen = TRUTHS[name]
    result = check_plan(wanted, less(seen, numbers))
    assert result.verdict in ("pass", "unproven"), result.diagnosis


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(LIES)), st.sampled_from(sorted(TRUTHS)), NUMBERS)
def test_what_is_not_proven_says_what_would_prove_it(lie, truth, numbers):
    for wanted, seen in (LIES[lie], TRUTHS[truth]):
        result = check_plan(wanted, less(seen, numbers))
        assert (result.verdict == "pass") is (not result.diagnosis)
        for entry in result.diagnosis:
            assert entry.evidence and entry.remedy.endswith(".")
