# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine's dry run: what it is given, and that nothing of it is left behind, whatever it does."""

from __future__ import annotations

import os
import pathlib
import pwd
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.dry_run import DryRun
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.measure_plan import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.memory_table import DeviceMemory

from tests.rig.waiting import wait_until
from tests.unit.plugins.module_utils.measure.builders import MIB, TABLE, inventory, plan_of, program


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


@pytest.mark.parametrize(
    "text, words",
    [
        ("echo 'error: no such option'; exit 1", "ended before it printed its memory table: error: no such option"),
        ("sleep 1000", "printed no memory table within 1 seconds"),
        ("while :; do echo 'noise noise noise noise'; done", "printed no memory table within 1 s|ended before"),
        (
            "echo 'load_tensors: loading model tensors'; sleep 1000",
            "started to load before it printed its memory table",
        ),
        (
            "echo '| memory breakdown [MiB] |'; echo '|   - Host | 10 = 0 + 4 + 5 |'; sleep 1000",
            "sees 0 GPUs, but the plan has 2",
        ),
        ("exit 0", "ended before it printed its memory table: no output"),
        ("head -c 3000000 /dev/urandom; sleep 1000", "printed no memory table within 1 seconds"),
        (
            "echo '| memory breakdown [MiB] |'; echo '|   - CUDA0 (A) | what = ever |'; "
            "echo '|   - Host | 10 = 0 + 4 + 5 |'; exit 3",
            "sees 0 GPUs",
        ),
        (
            "echo '| memory breakdown [MiB] |'; echo '| - CUDA0 (A) | 9 = 8 + (7 = 3 + 2 + 2) + 0 |'; "
            "echo '| - CUDA1 (A) | 9 = 8 + (7 = 3 + 2 + 2) + 0 |'; "
            "echo '|   - Host | 10 = 0 + 4 + 5 |'",
            "it is another model",
        ),
        ("kill -9 $$", "no output"),
    ],
)
def test_an_engine_that_does_not_answer_is_ended_and_the_prediction_stays(store, rig, tmp_path, text, words):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    engine = program(tmp_path / "engine-of-this-test", text)
    begin = time.monotonic()
    # An engine that ends has the time that a busy machine needs for it.
    result = measure_plan(plan, inventory(), engine, timeout=1 if "within 1 s" in words else 60)
    assert time.monotonic() - begin < 50
    wait_until(lambda: not engines(engine), "the end of the engine (its own children are not waited for)")
    assert result["instances"] == plan["instances"] and result["feasible"]
    warning = result["warnings"][-1]
    assert warning.startswith("llama4:16x17b on gpu0-1 is not measured: ") and any(
        word in warning for word in words.split("|")
    )


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


@pytest.mark.parametrize(
    "capabilities, driver, requested, library",
    [
        (("8.6", "8.6"), "580.65.06", "", "cuda_v13"),
        (("8.6", "8.6"), "570.124.06", "", "cuda_v12"),
        (("8.6", "7.0"), "580.65.06", "", "cuda_v12"),  # the server keeps the older one for both
        (("12.1", "12.1"), "580.65.06", "", "cuda_v13"),
        (("8.6", "8.6"), "580.65.06", "cuda_v12", "cuda_v12"),
        (("8.6", "8.6"), "470.1", "", None),
    ],
)
def test_the_engine_gets_the_library_that_ollama_would_give_it(
    store, rig, tmp_path, capabilities, driver, requested, library
):
    """Without GGML_BACKEND_PATH it finds no GPU (llm/llama_server.go `findLlamaServerGPUBackend`)."""
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    if requested:
        plan["instances"][0]["environment"]["OLLAMA_LLM_LIBRARY"] = requested
    facts = dict(inventory(), driver_version=driver)
    for device, capability in zip(facts["gpus"], capabilities):
        device["compute_capability"] = capability
    for name in ("cuda_v12", "cuda_v13"):
        (tmp_path / name).mkdir()
        for file in ("libcublas.so.12", "libggml-base.so.0", "libggml-cpu-x64.so", "libggml-cuda.so"):
            (tmp_path / name / file).touch()
    engine = program(tmp_path / "engine", 'env > "$0.told"; exit 1')
    measure_plan(plan, facts, engine)
    told = dict(line.partition("=")[::2] for line in (tmp_path / "engine.told").read_text().splitlines())
    assert told.get("GGML_BACKEND_PATH") == (library and str(tmp_path / library / "libggml-cuda.so"))
    directories = [str(tmp_path)] + ([str(tmp_path / library)] if library else [])
    assert told["LD_LIBRARY_PATH"].split(":") == directories


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@as_root
@pytest.mark.parametrize("owner", [0, 1, 54321])
def test_the_engine_runs_as_the_service_user_whoever_owns_the_model(store, rig, tmp_path, monkeypatch, owner):
    monkeypatch.setenv("MARKED_SECRET", "1")
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    blobs = [path for path in pathlib.Path(store).rglob("blobs/*") if path.stat().st_size > 10**9]
    for path in blobs:
        os.chown(path, owner, 0)
    engine = program(tmp_path / "engine", '{ id -u; id -g; env; cat /proc/self/status; } > "$0.told"; exit 1')
    try:
        measure_plan(plan, inventory(), engine)
    finally:
        for path in blobs:
            os.chown(path, 0, 0)
    nobody = pwd.getpwnam("nobody")
    with open(engine + ".told") as stream:
        told = stream.read()
    assert told.split("\n")[:2] == [str(nobody.pw_uid), str(nobody.pw_gid)]
    assert "NoNewPrivs:\t1" in told and "CapPrm:\t%016x" % 0 in told and "MARKED_SECRET" not in told


def measured(store, tmp_path):
    """The last warning of a plan whose engine would leave a file behind."""
    plan = plan_of(store, "llama3.1:8b")
    result = measure_plan(plan, inventory(), program(tmp_path / "engine", 'touch "$0.ran"; exit 1'))
    assert result["instances"] == plan["instances"] and not os.path.exists(str(tmp_path / "engine.ran"))
    return result["warnings"][-1]


@as_root
def test_without_the_service_user_nothing_is_measured(store, rig, tmp_path, monkeypatch):
    for user, words in (("no-such-user", "does not have the user no-such-user"), ("root", "root is root")):
        monkeypatch.setattr(paths, "USER", user)
        assert words in measured(store, tmp_path)


@as_root
@pytest.mark.parametrize("pattern", ["blobs", "blobs/*"])
def test_what_the_service_user_cannot_read_is_not_measured(store, rig, tmp_path, pattern):
    closed = list(pathlib.Path(store).glob(pattern))
    modes = [path.stat().st_mode for path in closed]
    for path in closed:
        path.chmod(0o600)
    try:
        assert "is not measured: the user nobody cannot read the model file" in measured(store, tmp_path)
    finally:
        for path, mode in zip(closed, modes):
            path.chmod(mode)


@as_root
def test_an_engine_that_the_service_user_cannot_run_is_not_measured(store, rig, tmp_path):
    engine = program(tmp_path / "engine", "exit 1")
    os.chmod(engine, 0o700)
    warning = measure_plan(plan_of(store, "llama3.1:8b"), inventory(), engine)["warnings"][-1]
    assert "is not measured: the user nobody cannot read the engine" in warning


def test_the_engine_is_not_given_what_the_plan_hides(store, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    plan["instances"][0]["environment"].update(A_TOKEN="(hidden)", GGML_X="1")
    engine = program(tmp_path / "engine", 'env > "$0.told"; exit 1')
    measure_plan(plan, inventory(), engine)
    told = open(engine + ".told").read()
    assert "GGML_X=1\n" in told and "A_TOKEN" not in told


def test_a_killed_module_leaves_no_engine(store, rig, tmp_path):
    slow = program(tmp_path / "slow-engine-of-this-test", "exec sleep 1000")
    child = os.fork()
    if not child:
        measure_plan(plan_of(store, "llama4:16x17b", context_length=32768), inventory(), slow, timeout=60)
        os._exit(0)
    engine_pid = wait_until(lambda: _children(child, [b"sleep\x001000\x00"]), "an engine")[0]
    os.kill(child, 9)
    os.waitpid(child, 0)
    wait_until(lambda: not _runs(engine_pid), "the end of the engine")


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


SECOND = """
echo 'operator(): getting device memory data for the extra model at a context size of 8192:'
echo '| memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |'
echo '|   - CUDA0 (A) | 49140 = 48000 + (39000 = 39000 +     0 +     0) +         0 |'
echo '|   - CUDA1 (A) | 49140 = 48000 + (39266 = 39000 +     32 +     234) +         0 |'
echo '|   - Host      |                   10 =     0 +       4 +       5                |'
sleep 1000
"""
HEADS = {"type": "draft-mtp", "tokens": 4, "draft": False}


def test_what_proposes_tokens_is_asked_for_and_measured(store, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    plan["instances"][0]["models"][0]["speculation"] = HEADS
    text = 'echo "$*" > "$0.told"' + (TABLE % (40000, 39000)).replace("sleep 1000", "") + SECOND
    engine = program(tmp_path / "engine", text)
    first, second = measure_plan(plan, inventory(), engine)["instances"][0]["models"][0]["predicted"]["devices"]
    told = open(engine + ".told").read()
    assert "--spec-type draft-mtp --spec-draft-n-max 4 --spec-draft-backend-sampling" in told and "--lora" not in told
    assert (first["draft_bytes"], second["draft_bytes"]) == (0, 266 * MIB)
    assert second["draft_compute_bytes"] == 234 * MIB
    parts = ("weight_bytes", "kv_bytes", "compute_bytes", "projector_bytes", "overhead_bytes", "draft_bytes")
    assert second["total_bytes"] == sum(second[part] for part in parts)


def test_an_engine_without_a_second_table_is_not_believed(store, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    plan["instances"][0]["models"][0]["speculation"] = HEADS
    text = (TABLE % (40000, 39000)).replace("sleep 1000", "") + "echo 'load_tensors: loading'; sleep 1000"
    result = measure_plan(plan, inventory(), program(tmp_path / "engine", text))
    assert result["instances"] == plan["instances"]
    assert "started to load before it printed" in result["warnings"][-1]


def test_drafts_and_adapters_are_files_that_the_engine_is_given():
    model = {
        "predicted": {"ubatch": 512, "devices": [{"layers": 33}]},
        "parallel": 1,
        "context_length": 4096,
        "speculation": dict(HEADS, draft=True),
    }
    run = DryRun("/x/llama-server", "/m", {"environment": {}}, model, "auto", "/d", ("/a", "/b"))
    told = " ".join(run.arguments())
    assert "--spec-draft-model /d --lora /a --lora /b" in told
    assert run.files == ["/m", "/d", "/a", "/b"]
    plain = DryRun("/x/llama-server", "/m", {"environment": {}}, dict(model, speculation=None))
    assert "--spec" not in " ".join(plain.arguments()) and not plain.speculates


def test_the_second_table_has_weights_of_its_own_only_for_a_draft():
    memory, draft = DeviceMemory(10, 5, 3, 2), DeviceMemory(9, 4, 3, 2)
    assert memory.with_draft(draft, False) == DeviceMemory(10, 5, 3, 2, 5, 2)
    assert memory.with_draft(draft, True) == DeviceMemory(10, 5, 3, 2, 9, 2)


def test_a_model_that_embeds_is_asked_about_as_ollama_starts_it(store, rig):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    instance = plan["instances"][0]
    model = instance["models"][0]
    told = [DryRun("engine", "file", instance, dict(model, embedding=embeds)).arguments() for embeds in (True, False)]
    assert [("--embedding" in arguments) for arguments in told] == [True, False] and model["embedding"] is False
