# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Properties: less evidence never turns a failure into a pass, and turns a pass into a pass or into "unproven" only."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import ObservedInstance, ObservedModel
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.gpus import state
from tests.unit.plugins.module_utils.evidence.builders import (
    ANSWER,
    ARGUMENTS,
    GIB,
    LISTED,
    MIB,
    NAME,
    OVERHEAD,
    PS,
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


def of_instance(**changes):
    """A change to what was observed of the instance."""
    return lambda seen: [setattr(seen.instances["gpu0-1"], name, value) for name, value in changes.items()]


def two_models():
    """A plan of two models in one instance."""
    wanted = plan()
    models = wanted["instances"][0]["models"]
    models.append(dict(copy.deepcopy(models[0]), create_as="second:latest"))
    return wanted


def second_listed(seen):
    """The server lists the second model, and its process is that of the first."""
    instance = seen.instances["gpu0-1"]
    instance.models["second:latest"] = copy.deepcopy(instance.models[NAME])
    instance.loaded.append("second:latest")


OUTSIDE = dict(gpu(B, 1, 300 * MIB), uuid="GPU-cccccccc", index=2)
ELSEWHERE = {A: 33 * GIB, B: 32 * GIB}


#: (plan, observations) of hosts that are not as planned.
def with_alias():
    wanted = plan()
    wanted["instances"][0]["models"][0]["aliases"] = ["chat"]
    return wanted


def answering(**changes):
    """Observations of a model with another answer."""
    return observations(answer=dataclasses.replace(ANSWER, **changes))


def embedding(*vectors):
    """A plan and observations of an embedding model, whose instances give these vectors."""
    given = [
        dataclasses.replace(
            ANSWER, tokens=(), vector=vector, width=4, server="%s %d" % (UNIT, number) if number else UNIT
        )
        for number, vector in enumerate(vectors)
    ]
    why = '"x" does not support generate'
    seen = observations(answered=None, not_generated=why, vectors_only=True, answer=given[0])
    return plan(), beside(seen, *given[1:])


def beside(seen, *others):
    """The same with the answers of replicas in other instances."""
    for number, one in enumerate(others):
        seen.instances["replica%d" % number] = ObservedInstance(models={NAME: ObservedModel(answer=one)})
    return seen


def another(*likeliest):
    """The answer of a replica that begins with other tokens."""
    return dataclasses.replace(ANSWER, server="ollama@gpu1.service", tokens=((likeliest[0][0], -0.3, likeliest),))


EACH = (0.5, 0.5, 0.5, 0.5)
LIES = {
    "not_a_number": (plan(), answering(tokens=(("!", 0, (("!", 0), (" other", 0))),) * 8)),
    "one_word": (plan(), answering(tokens=(("!", -0.25, (("!", -0.25),)),) * 64)),
    "unprintable": (plan(), answering(text="".join(chr(0xE000 + number) for number in range(64)))),
    "other_words": (plan(), beside(observations(), another((" Once", -0.3), (" In", -2.0)))),
    "zero_vector": embedding((0.0,) * 4),
    "short_vector": embedding((0.5,) * 3),
    "other_vector": embedding(EACH, (0.5, -0.5, 0.5, -0.5)),
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
    "size_vram": (plan(), observations(ps=dict(PS, size_vram=60 * GIB))),
    "dry_run": (plan(), observations(log=log(dry_run={"CUDA0": 35 * GIB, "CUDA1": 32 * GIB}))),
    "buffers": (plan(), observations(log=log({"CUDA0": 30 * GIB, "CUDA1": 32 * GIB, "CPU": GIB}))),
    "buffers_on_cpu": (plan(), observations(log=log({"CPU": 64 * GIB}, dry_run={}))),
    "idle": (plan(), observations(utilization_peak={A: 0, B: 0}, busy_processes={A: {}, B: {}})),
    "busy_other": (plan(), observations(busy_processes={A: {77: 47}, B: {77: 44}})),
    "context_length": (plan(), observations(ps=dict(PS, context_length=4096))),
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
    # -- a second reader's ---------------------------------------------------------------------------------------------
    "other_listener": (plan(), changed(of_instance(listener={"pid": 77, "process": "nginx", "unit": "nginx.service"}))),
    "other_release": (plan(), changed(of_instance(version="0.31.0"))),
    "deleted_program": (plan(), with_engine(executable="/opt/release/lib/ollama/llama-server (deleted)")),
    "other_installation": (plan(), with_engine(executable="/usr/local/lib/ollama/llama-server")),
    "environment": (
        plan(),
        changed(of_instance(differences=[{"name": "OLLAMA_KV_CACHE_TYPE", "difference": "next_start"}])),
    ),
    "unread_unit": (plan(), changed(lambda seen: seen.instances["gpu0-1"].unit.update(NeedDaemonReload="yes"))),
    "one_engine": (two_models(), changed(second_listed)),
    "other_file": (plan(), with_engine(model_file="sha256-9")),
    "other_base": (plan(), observations(base_file="sha256-9")),
    "recreated": (plan(), observations(stored_digest="9" * 64)),
    "alias": (with_alias(), observations(alias_digests={"chat:latest": "9" * 64})),
    "expires": (plan(), observations(ps=dict(PS, expires_at="2026-11-28T20:30:00Z"))),
    "other_unit": (
        plan(),
        changed(lambda seen: [gpu["processes"][0].update(unit="docker.service") for gpu in seen.inventory["gpus"]]),
    ),
    "free_contradicts": (
        plan(),
        changed(
            lambda seen: seen.inventory["gpus"][0]["memory"].update(free_bytes=20 * GIB),
            others={A: [(77, 14 * GIB, None)]},
        ),
    ),
    "compensated": (plan(), observations(log=dataclasses.replace(log(), cache={"CUDA0": 8 * MIB, "CUDA1": 8 * MIB}))),
    "other_maker": (plan(), observations(log=log({"CUDA0": 33 * GIB, "CUDA1": 32 * GIB, "Vulkan0": 4 * GIB}))),
    "cpu_on_vulkan": (
        on_the_cpu(),
        observations(held={}, log=log({"Vulkan0": 30 * GIB, "CPU": GIB}, dry_run={}, compute={}), device_uuids={}),
    ),
    "cpu_with_context": (on_the_cpu(), observations(held={A: OVERHEAD}, **WITHOUT_LOG)),
}
#: (plan, observations) of hosts whose figures contradict each other, so that they prove nothing.
CONTRADICTIONS = {
    "used_less": (
        plan(),
        changed(lambda seen: [gpu["memory"].update(used_bytes=32 * GIB) for gpu in seen.inventory["gpus"]]),
    ),
    "listed_twice": (
        plan(),
        changed(lambda seen: [gpu["processes"].append(dict(LISTED, used_bytes=MIB)) for gpu in seen.inventory["gpus"]]),
    ),
    "one_uuid": (plan(), changed(lambda seen: seen.inventory["gpus"].insert(0, gpu(A, 0, 300 * MIB)))),
    "one_device": (plan(), observations(device_uuids={"CUDA0": A, "CUDA1": A})),
    "absurd_bytes": (
        plan(),
        changed(
            lambda seen: [
                gpu["processes"][0].update(used_bytes=value) or gpu["memory"].update(used_bytes=value)
                for gpu, value in zip(seen.inventory["gpus"], (True, -5 * GIB))
            ]
        ),
    ),
    "absurd_percent": (
        small(),
        observations(
            held={A: 100 * MIB + OVERHEAD},
            utilization_peak={A: 2**32 - 1},
            busy_processes={A: {4242: 2**32 - 1}},
            **WITHOUT_LOG,
        ),
    ),
    "absurd_size": (plan(), observations(ps=dict(PS, size=True, size_vram=True))),
    "cpu_unmanaged": (
        on_the_cpu(),
        changed(
            lambda seen: seen.inventory.update(state="no_library", gpus=[], driver_version="580.95.05"),
            held={},
            **WITHOUT_LOG,
        ),
    ),
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
    "embedding": embedding(EACH, EACH),
    "without log-probabilities": (plan(), answering(tokens=())),
    "replicas": (plan(), beside(observations(), another((" The", -0.3), (" Once", -2.0)))),
    "replicas that are about as likely": (
        (
            plan(),
            beside(
                answering(tokens=((" The", -0.6, ((" The", -0.6), (" Once", -0.9))),)),
                another((" Once", -0.7), (" The", -0.8)),
            ),
        )
    ),
    "replicas without log-probabilities": (
        plan(),
        beside(observations(), dataclasses.replace(ANSWER, server="b", tokens=())),
    ),
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
    found += [_of_object(instance, name) for name in ("version", "listener", "executable", "differences")]
    model = instance.models[NAME]
    found += [_of_object(model, name) for name in ("served_file", "base_file", "stored_digest")]
    unknown = "engine died stayed answered answer generation_error log utilization_peak busy_processes not_generated"
    found += [_of_object(model, name) for name in unknown.split()]
    found += [_of_object(model, "ps", {}), _of_object(model, "device_uuids", {})]
    found += [_of_dict(model.ps, name) for name in model.ps or ()]
    for name, empty in (("layers", None), ("buffers", {}), ("dry_run", {}), ("compute", {}), ("cache", {})):
        if model.log:
            found.append(_of_object(model, "log", dataclasses.replace(model.log, **{name: empty})))
    for name, empty in (("arguments", []), ("environment", None), ("executable", None)):
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
    for number in range(len(takers(copy.deepcopy(seen)))):
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
