# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The installed engine's own dry run, asked of the engine stand-in: figures, and nothing allocated or left behind."""

from __future__ import annotations

import os
import stat
import sys
import time

import pytest

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import dry_run
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.measuring import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.plan import make_plan
from tests.oracle import hosts
from tests.rig.engine.build import build_engine
from tests.rig.gpus import state
from tests.rig.models import store as rig_models

from tests.unit.plugins.modules.run_module import run_module

MIB = 1024 * 1024


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("store")
    for name in ("llama4:16x17b", "llama3.1:8b"):
        rig_models.write_into_store(name, directory)
    return str(directory)


@pytest.fixture(scope="module", name="engine")
def _engine(tmp_path_factory):
    return str(build_engine(tmp_path_factory.mktemp("engine") / "llama-server", sys.executable))


@pytest.fixture(name="rig")
def _rig(tmp_path, monkeypatch):
    """Two A6000 whose state file is given; the value is its path."""
    path = str(tmp_path / "rig" / "state")
    monkeypatch.setenv("GPU_RIG_STATE", path)
    state.main(["preset", "rtx-a6000-x2"])
    return path


def inventory():
    """GPU facts of the rig's two GPUs, by their UUIDs."""
    facts = hosts.inventory(hosts.A6000, hosts.A6000)
    for fact, gpu in zip(facts["gpus"], state.gpus(state.load())):
        fact["uuid"] = gpu["uuid"]
    return facts


def plan_of(store, name, **settings):
    model = source.from_store(Store(store), name)[0]
    return make_plan(inventory(), [dict(settings, name=model["name"], model=model)], "0.32.15", models_dir=store)


def figures(plan):
    return [
        [[device[key] // MIB for key in ("weight_bytes", "kv_bytes", "compute_bytes")] for device in model["predicted"]["devices"]]
        for instance in plan["instances"]
        for model in instance["models"]
    ]


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
    assert model["predicted"]["basis"] == "measured" and plan["instances"][0]["models"][0]["predicted"]["basis"] == "predicted"
    assert figures(result) == [[[31659, 1452, 764], [30105, 1380, 1357]]]
    for device in model["predicted"]["devices"]:
        parts = ("weight_bytes", "kv_bytes", "compute_bytes", "projector_bytes", "overhead_bytes")
        assert device["total_bytes"] == sum(device[key] for key in parts)
    assert result["feasible"] and result["warnings"] == plan["warnings"]


def test_what_is_loaded_is_not_disturbed_and_does_not_change_the_answer(store, engine, rig):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    state.main(["set", "gpu0.memory.base", str(20000 * MIB)])
    before = open(rig).read()
    assert figures(measure_plan(plan, inventory(), engine)) == [[[31659, 1452, 764], [30105, 1380, 1357]]]
    assert open(rig).read() == before


def test_replicas_are_asked_for_once(store, engine, rig, monkeypatch):
    asked = []
    real = dry_run.measure
    monkeypatch.setattr(dry_run, "measure", lambda *given: asked.append(1) or real(*given))
    plan = plan_of(store, "llama3.1:8b", context_length=8192)
    result = measure_plan(plan, inventory(), engine)
    assert len(result["instances"]) == 2 and len(asked) == 1
    assert [instance["models"][0]["predicted"]["basis"] for instance in result["instances"]] == ["measured"] * 2


def program(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


TABLE = """
echo '| memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |'
echo '|   - CUDA0 (A) | 49140 = 48000 + (40000 = 39000 +     500 +     500) +         0 |'
echo '|   - CUDA1 (A) | 49140 = 48000 + (%s = %s +     500 +     500) +         0 |'
echo '|   - Host      |                   10 =     0 +       4 +       5                |'
sleep 1000
"""


@pytest.mark.parametrize("text, words", [
    ("echo 'error: no such option'; exit 1", "ended before it said what it would take: error: no such option"),
    ("sleep 1000", "did not say within 1 seconds"),
    ("while :; do echo 'noise noise noise noise'; done", "did not say within 1 seconds|ended before"),
    ("echo 'load_tensors: loading model tensors'; sleep 1000", "began to load without saying"),
    ("echo '| memory breakdown [MiB] |'; echo '|   - Host | 10 = 0 + 4 + 5 |'; sleep 1000", "sees 0 GPUs where the plan has 2"),
])
def test_an_engine_that_does_not_answer_is_ended_and_the_prediction_stays(store, rig, tmp_path, text, words):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    engine = program(tmp_path / "engine-of-this-test", text)
    begin = time.monotonic()
    result = measure_plan(plan, inventory(), engine, timeout=1)
    assert time.monotonic() - begin < 10 and engines(engine) == []
    assert result["instances"] == plan["instances"] and result["feasible"]
    warning = result["warnings"][-1]
    assert warning.startswith("llama4:16x17b on gpu0-1 is not measured: ") and any(word in warning for word in words.split("|"))


def test_where_there_is_nothing_to_ask(store, engine, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    assert "there is no engine at" in measure_plan(plan, inventory(), str(tmp_path / "none"))["warnings"][-1]
    elsewhere = dict(plan, models_dir=str(tmp_path))
    assert "in none of the stores" in measure_plan(elsewhere, inventory(), engine)["warnings"][-1]
    assert measure_plan(elsewhere, inventory(), engine, [store])["instances"][0]["models"][0]["predicted"]["basis"] == "measured"
    assert "0.30 and later" in measure_plan(dict(plan, engine="ollama runner"), inventory(), engine)["warnings"][-1]
    full = inventory()
    full["gpus"][1]["memory"]["free_bytes"] = 500 * MIB
    assert "has only 500 MiB free" in measure_plan(plan, full, engine)["warnings"][-1]


def test_an_engine_that_expects_more(store, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    result = measure_plan(plan, inventory(), program(tmp_path / "more", TABLE % (40000, 39000)))
    assert result["feasible"] and any("expects llama4:16x17b to take" in warning and "than predicted" in warning for warning in result["warnings"])
    result = measure_plan(plan, inventory(), program(tmp_path / "much-more", TABLE % (60000, 59000)))
    assert not result["feasible"] and result["instances"] == [] and "engine itself" in result["models"][0]["reason"]


def test_the_module_measures(store, engine, rig):
    model = source.from_store(Store(store), "llama4:16x17b")[0]
    given = {"gpu_inventory": inventory(), "ollama_version": "0.32.15", "models_dir": store, "measure": {"engine": engine},
             "models": [{"name": model["name"], "model": model, "context_length": 32768}]}
    result = run_module("placement_info", given, check=True)
    assert result["placement"]["instances"][0]["models"][0]["predicted"]["basis"] == "measured" and not result["changed"]
    given["measure"] = {"timeout": 0}
    assert "at least one second" in run_module("placement_info", given)["msg"]
