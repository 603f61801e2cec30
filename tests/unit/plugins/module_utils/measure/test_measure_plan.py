# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan with the figures of the installed engine: which models are asked for, and which keep what is known."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import shown_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure import dry_run
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure import measure_plan as measure_room
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.measure_plan import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.rig.gpus import state
from tests.rig.models import store as rig_models
from tests.unit.plugins.module_utils.measure.builders import MIB, figures, inventory, plan_of, rig_environment
from tests.unit.plugins.modules.run_module import run_module


def engines(engine):
    """Processes of the engine that run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as stream:
                found += [pid] if engine.encode() in stream.read() else []
        except OSError:
            continue
    return found


def test_a_model_over_two_gpus_is_measured_and_nothing_is_allocated(store, engine, rig):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    before = open(rig).read()
    result = measure_plan(plan, inventory(), engine)
    assert open(rig).read() == before and engines(engine) == []
    model = result["instances"][0]["models"][0]
    assert (
        model["predicted"]["basis"] == "measured"
        and plan["instances"][0]["models"][0]["predicted"]["basis"] == "predicted"
    )
    assert figures(result) == [[[31659, 1452, 764], [30105, 1380, 664]]]
    for device in model["predicted"]["devices"]:
        parts = ("weight_bytes", "kv_bytes", "compute_bytes", "projector_bytes", "overhead_bytes")
        assert device["total_bytes"] == sum(device[key] for key in parts)
    assert result["feasible"] and result["warnings"] == plan["warnings"]


def test_what_is_loaded_is_not_disturbed_and_does_not_change_the_answer(store, engine, rig):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    state.main(["set", "gpu0.memory.base", str(20000 * MIB)])
    before = open(rig).read()
    assert figures(measure_plan(plan, inventory(), engine)) == [[[31659, 1452, 764], [30105, 1380, 664]]]
    assert open(rig).read() == before


def test_replicas_are_asked_for_once(store, engine, rig, monkeypatch):
    asked = []
    real = dry_run.measure
    monkeypatch.setattr(dry_run, "measure", lambda *given: asked.append(1) or real(*given))
    plan = plan_of(store, "llama3.1:8b", context_length=8192)
    result = measure_plan(plan, inventory(), engine)
    assert len(result["instances"]) == 2 and len(asked) == 1
    assert [instance["models"][0]["predicted"]["basis"] for instance in result["instances"]] == ["measured"] * 2


def test_where_there_is_nothing_to_ask(store, engine, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    assert "there is no engine at" in measure_plan(plan, inventory(), str(tmp_path / "none"))["warnings"][-1]
    elsewhere = dict(plan, models_dir=str(tmp_path))
    assert "in none of the stores" in measure_plan(elsewhere, inventory(), engine)["warnings"][-1]
    assert (
        measure_plan(elsewhere, inventory(), engine, [store])["instances"][0]["models"][0]["predicted"]["basis"]
        == "measured"
    )
    assert "0.30 and later" in measure_plan(dict(plan, engine="ollama runner"), inventory(), engine)["warnings"][-1]
    full = inventory()
    full["gpus"][1]["memory"]["free_bytes"] = 500 * MIB
    assert "has only 500 MiB free" in measure_plan(plan, full, engine)["warnings"][-1]
    exclusive = inventory()
    exclusive["gpus"][0]["compute_mode"] = "exclusive_process"
    assert "exclusive compute mode" in measure_plan(plan, exclusive, engine)["warnings"][-1]


def _with(plan, variables):
    """The instances of a plan with these variables."""
    return [dict(instance, environment=dict(instance["environment"], **variables)) for instance in plan["instances"]]


@pytest.mark.parametrize("cause", ["full", "exclusive"])
def test_what_was_measured_stays_where_asking_could_disturb(store, engine, rig, cause):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    applied = measure_plan(plan, inventory(), engine)
    now = inventory()
    if cause == "full":
        now["gpus"][1]["memory"]["free_bytes"] = 500 * MIB
    else:
        now["gpus"][0]["compute_mode"] = "exclusive_process"
    assert measure_plan(plan, now, engine, applied_plan=applied) == applied
    # What the applied plan hides is no other question.
    secret = {"A_TOKEN": "MARK"}
    plan["instances"][0]["environment"].update(secret)
    hidden = measure_plan(plan, now, engine, applied_plan=shown_plan(dict(applied, instances=_with(applied, secret))))
    assert hidden["instances"] == _with(applied, secret)
    # Not for another question, nor from what was only predicted.
    other = plan_of(store, "llama4:16x17b", context_length=16384)
    moved = json.loads(json.dumps(plan))
    moved["instances"][0]["models"][0]["planned_digest"] = "sha256:" + "0" * 64
    for before, wanted in (
        (applied, moved),
        (plan, plan),
        (dict(applied, ollama_version="0.32.14"), plan),
        (applied, other),
        ({"instances": 7}, plan),
        (None, plan),
    ):
        result = measure_plan(wanted, now, engine, applied_plan=before)
        assert result["instances"] == wanted["instances"] and "not measured" in result["warnings"][-1]
    # An engine that answers nothing is no reason to believe an older answer.
    assert measure_plan(plan, inventory(), "/nowhere", applied_plan=applied)["instances"] == plan["instances"]


def test_models_partly_on_the_cpu_are_not_measured(store, engine, rig):
    plan = plan_of(store, "llama4:16x17b", context_length=1048576, allow_cpu_offload=True)
    assert not plan["instances"][0]["models"][0]["predicted"]["fully_on_gpu"]
    result = measure_plan(plan, inventory(), engine)
    assert result["instances"] == plan["instances"] and "not wholly on GPUs" in result["warnings"][-1]


def test_the_module_measures(store, engine, rig):
    model = source.from_store(Store(store), "llama4:16x17b")[0]
    given = {
        "gpu_inventory": inventory(),
        "ollama_version": "0.32.15",
        "measure": {"engine": engine, "stores": [store]},
        "environment_unchecked": rig_environment(),
        "models": [{"name": model["name"], "model": model, "context_length": 32768}],
    }
    result = run_module("placement_info", given, check=True)
    assert (
        result["placement"]["instances"][0]["models"][0]["predicted"]["basis"] == "measured" and not result["changed"]
    )
    given["measure"] = {"timeout": 0}
    assert "at least one second" in run_module("placement_info", given)["msg"]


def test_the_engine_is_given_the_file_of_the_draft_that_is_named(store):
    drafted = {"from": "llama4:16x17b", "create_as": "x", "draft": {"name": "llama3.1:8b"}}
    expected = {
        name: max(rig_models.blobs(name), key=lambda blob: blob.size) for name in ("llama4:16x17b", "llama3.1:8b")
    }
    model, (draft,), adapters = measure_room._files(drafted, [store])
    assert adapters == [] and os.path.basename(model) == expected["llama4:16x17b"].file_name
    assert os.path.basename(draft) == expected["llama3.1:8b"].file_name
    with pytest.raises(dry_run.NotMeasured, match="its draft model nowhere is in none of the stores"):
        measure_room._files(dict(drafted, draft={"name": "nowhere"}), [store])


def test_the_engine_is_given_the_adapters_of_the_plan(store):
    (size, name) = max((blob.size, blob.file_name) for blob in rig_models.blobs("llama3.1:8b"))
    one = {"digest": name.replace("-", ":"), "size_bytes": size, "kind": "url"}
    planned = {"from": "llama4:16x17b", "create_as": "x", "adapters": [one]}
    assert [os.path.basename(path) for path in measure_room._files(planned, [store])[2]] == [name]
    for change, found in (({"digest": None}, []), ({"size_bytes": 1}, None)):
        changed = dict(planned, adapters=[dict(one, **change)])
        if found is None:
            with pytest.raises(dry_run.NotMeasured, match="its adapter sha256:.* is in none of the stores"):
                measure_room._files(changed, [store])
        else:
            assert measure_room._files(changed, [store])[2] == found
