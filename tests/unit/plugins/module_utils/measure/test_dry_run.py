# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The installed engine's own dry run, asked of the engine stand-in: figures, and nothing allocated or left behind."""

from __future__ import annotations

import os
import stat
import sys
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure import dry_run
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.measuring import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
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
        [
            [device[key] // MIB for key in ("weight_bytes", "kv_bytes", "compute_bytes")]
            for device in model["predicted"]["devices"]
        ]
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


def gone(engine):
    """Whether nothing of the engine runs any more, at the latest in some seconds (what it has started itself is not waited for)."""
    return any(not engines(engine) or time.sleep(0.1) for _attempt in range(50))


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


@pytest.mark.parametrize(
    "text, words",
    [
        ("echo 'error: no such option'; exit 1", "ended before it said what it would take: error: no such option"),
        ("sleep 1000", "did not say within 1 seconds"),
        ("while :; do echo 'noise noise noise noise'; done", "did not say within 1 seconds|ended before"),
        ("echo 'load_tensors: loading model tensors'; sleep 1000", "began to load without saying"),
        (
            "echo '| memory breakdown [MiB] |'; echo '|   - Host | 10 = 0 + 4 + 5 |'; sleep 1000",
            "sees 0 GPUs where the plan has 2",
        ),
        ("exit 0", "ended before it said what it would take: no output"),
        ("head -c 3000000 /dev/urandom; sleep 1000", "did not say within 1 seconds"),
        (
            "echo '| memory breakdown [MiB] |'; echo '|   - CUDA0 (A) | what = ever |'; echo '|   - Host | 10 = 0 + 4 + 5 |'; exit 3",
            "sees 0 GPUs",
        ),
        (
            "echo '| memory breakdown [MiB] |'; echo '| - CUDA0 (A) | 9 = 8 + (7 = 3 + 2 + 2) + 0 |'; echo '| - CUDA1 (A) | 9 = 8 + (7 = 3 + 2 + 2) + 0 |'; "
            "echo '|   - Host | 10 = 0 + 4 + 5 |'",
            "does not speak of this model",
        ),
        ("kill -9 $$", "no output"),
    ],
)
def test_an_engine_that_does_not_answer_is_ended_and_the_prediction_stays(store, rig, tmp_path, text, words):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    engine = program(tmp_path / "engine-of-this-test", text)
    begin = time.monotonic()
    result = measure_plan(plan, inventory(), engine, timeout=1)
    assert time.monotonic() - begin < 10 and gone(engine)
    assert result["instances"] == plan["instances"] and result["feasible"]
    warning = result["warnings"][-1]
    assert warning.startswith("llama4:16x17b on gpu0-1 is not measured: ") and any(
        word in warning for word in words.split("|")
    )


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
    # Not for another question, nor from what was only predicted.
    other = plan_of(store, "llama4:16x17b", context_length=16384)
    for before, wanted in (
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


@pytest.mark.parametrize(
    "capability, setting, told",
    [("8.6", None, "auto"), ("5.2", None, "off"), ("7.2", None, "off"), ("5.2", "1", "on"), (None, "0", "off")],
)
def test_flash_attention_is_what_ollama_would_say(store, rig, tmp_path, capability, setting, told):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    if setting:
        plan["instances"][0]["environment"]["OLLAMA_FLASH_ATTENTION"] = setting
    facts = inventory()
    facts["gpus"][1]["compute_capability"] = capability
    engine = program(tmp_path / "engine", 'echo "$*" > "$0.told"; exit 1')
    measure_plan(plan, facts, engine)
    assert "--flash-attn %s " % told in open(engine + ".told").read()


def test_models_partly_on_the_cpu_are_not_measured(store, engine, rig):
    plan = plan_of(store, "llama4:16x17b", context_length=1048576, allow_cpu_offload=True)
    assert not plan["instances"][0]["models"][0]["predicted"]["fully_on_gpu"]
    result = measure_plan(plan, inventory(), engine)
    assert result["instances"] == plan["instances"] and "not wholly on GPUs" in result["warnings"][-1]


def test_a_killed_module_leaves_no_engine(store, rig, tmp_path):
    slow = program(tmp_path / "slow-engine-of-this-test", "exec sleep 1000")
    child = os.fork()
    if not child:
        measure_plan(plan_of(store, "llama4:16x17b", context_length=32768), inventory(), slow, timeout=60)
        os._exit(0)
    sleeping = [b"sleep\x001000\x00"]
    assert any(_children(child, sleeping) or time.sleep(0.1) for _attempt in range(100))
    engine_pid = _children(child, sleeping)[0]
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert any(not _runs(engine_pid) or time.sleep(0.1) for _attempt in range(50))


def _children(parent, commands):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as stat_file, open("/proc/%s/cmdline" % pid, "rb") as command:
                if int(stat_file.read().rpartition(")")[2].split()[1]) == parent and command.read() in commands:
                    found.append(int(pid))
        except OSError:
            continue
    return found


def _runs(pid):
    try:
        with open("/proc/%d/stat" % pid) as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_engine_that_expects_more(store, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    result = measure_plan(plan, inventory(), program(tmp_path / "more", TABLE % (40000, 39000)))
    assert result["feasible"] and any(
        "expects llama4:16x17b to take" in warning and "than predicted" in warning for warning in result["warnings"]
    )
    result = measure_plan(plan, inventory(), program(tmp_path / "much-more", TABLE % (60000, 59000)))
    report = result["models"][0]
    assert (
        not result["feasible"]
        and result["instances"] == []
        and plan["feasible"]
        and plan["models"][0]["shortfall_bytes"] is None
    )
    assert (
        "engine itself expects %d bytes" % report["shortfall_bytes"] in report["reason"]
        and report["remedies"]
        and report["shortfall_bytes"] > 1024 * MIB
    )


def test_models_on_one_gpu_are_counted_together(store, rig, tmp_path):
    models = [
        dict(name=name, model=source.from_store(Store(store), "llama3.1:8b")[0]) for name in ("llama3.1:8b", "other:8b")
    ]
    plan = make_plan(inventory(), models, "0.32.15", selectors=["0"], models_dir=store)
    for instance in plan["instances"]:
        for model in instance["models"]:
            model["from"] = "llama3.1:8b"
    assert plan["feasible"] and len(plan["instances"]) == 1 and len(plan["instances"][0]["models"]) == 2
    each = TABLE.replace("echo '|   - CUDA1 (A) | 49140 = 48000 + (%s = %s +     500 +     500) +         0 |'\n", "")
    assert measure_plan(plan, inventory(), program(tmp_path / "half", each.replace("39000", "20000")))["feasible"]
    result = measure_plan(plan, inventory(), program(tmp_path / "more", each.replace("39000", "29000")))
    assert not result["feasible"] and all("engine itself" in report["reason"] for report in result["models"])


def test_the_module_measures(store, engine, rig):
    model = source.from_store(Store(store), "llama4:16x17b")[0]
    given = {
        "gpu_inventory": inventory(),
        "ollama_version": "0.32.15",
        "models_dir": store,
        "measure": {"engine": engine},
        "models": [{"name": model["name"], "model": model, "context_length": 32768}],
    }
    result = run_module("placement_info", given, check=True)
    assert (
        result["placement"]["instances"][0]["models"][0]["predicted"]["basis"] == "measured" and not result["changed"]
    )
    given["measure"] = {"timeout": 0}
    assert "at least one second" in run_module("placement_info", given)["msg"]
