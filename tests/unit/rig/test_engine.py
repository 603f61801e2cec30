# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine stand-in: devices, refusals, entries in the state file, lies, answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from tests.rig.engine import devices, header
from tests.rig.engine.build import build_engine, files
from tests.rig.gpus import state
from tests.rig.waiting import PATIENCE, wait_until
from tests.unit.rig import engine_process

MIB = 1024 * 1024
GIB = 1024 * MIB
CONTEXT = state.DEFAULT_CONTEXT


models, program, rig = engine_process.models, engine_process.program, engine_process.rig
serving, refused = engine_process.serving, engine_process.refused

LLAMA4 = ("-c", "32768", "-np", "1", "-b", "1024", "-ub", "1024", "--flash-attn", "auto")

# --- devices -------------------------------------------------------------------------------------


def names(content, **environment):
    return [device.uuid[:12] for device in devices.visible(content, environment)[0]]


def test_cuda_visible_devices():
    content = state.preset("rtx-a6000-x2")
    first, second = names(content)
    assert names(content, CUDA_VISIBLE_DEVICES="1,0") == [second, first]
    assert names(content, CUDA_VISIBLE_DEVICES=second) == [second]
    assert names(content, CUDA_VISIBLE_DEVICES="0,7,1") == [first]
    assert names(content, CUDA_VISIBLE_DEVICES="GPU-nope,0") == []
    assert names(content, CUDA_VISIBLE_DEVICES="GPU-") == []  # not unique
    assert names(content, CUDA_VISIBLE_DEVICES="-1") == names(content, CUDA_VISIBLE_DEVICES="") == []
    assert [d.name for d in devices.visible(content, {"CUDA_VISIBLE_DEVICES": "1"})[0]] == ["CUDA0"]


def test_cuda_s_own_order_is_the_fastest_first():
    content = state.preset("mixed")
    by_address = names(content, CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert [d.description for d in devices.visible(content, {})[0]] == ["NVIDIA RTX A6000", "NVIDIA GeForce RTX 3090"]
    assert names(content) == by_address[::-1]


def test_gpus_that_cuda_cannot_use_are_not_listed():
    content = dict(state.preset("rtx-a6000-x2"), **{"gpu0.compute_mode": "2"})
    assert len(names(content)) == 1
    assert names(dict(content, **{"gpu1.fault": "15"})) == []
    assert names(dict(content, **{"fault.nvmlInit": "18"})) == []
    assert names(None) == []
    assert names(state.preset("rtx-a6000-x2"), LD_LIBRARY_PATH="/x/lib/ollama:/x/lib/ollama/vulkan") == []


def test_a_process_sees_one_mig_device():
    assert names(state.preset("a100-mig")) == ["MIG-c0de0000"]
    assert names(state.preset("a100-mig"), CUDA_VISIBLE_DEVICES="MIG-c0de0002-1111") == ["MIG-c0de0002"]


def test_listing_the_devices(program, rig):
    done = subprocess.run(
        [str(program), "--list-devices", "--offline", "--verbose"], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "Available devices:\n  CUDA0: NVIDIA RTX A6000 (49140 MiB, 48300 MiB free)\n"
        "  CUDA1: NVIDIA RTX A6000 (49140 MiB, 48300 MiB free)\n"
    )
    assert (
        "ggml_cuda_init: found 2 CUDA devices:\n"
        "  Device 0: NVIDIA RTX A6000, compute capability 8.6, VMM: yes, VRAM: 49140 MiB\n" in done.stderr
    )


def test_a_device_that_fails_alone_ends_with_an_error(program, rig):
    environment = {**os.environ, "GGML_CUDA_INIT": "1", "CUDA_VISIBLE_DEVICES": "9"}
    assert (
        subprocess.run([str(program), "--list-devices"], capture_output=True, env=environment, check=False).returncode
        == 1
    )


def test_discovery_waits_until_it_is_killed(program, rig):
    process = subprocess.Popen(
        [str(program), "--port", "1", "--host", "127.0.0.1", "--no-webui", "--offline", "--verbose"],
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stderr.readline() for _line in range(4)]
    assert "system_info: " in lines[3] and ",860," in lines[3]
    assert process.poll() is None
    process.kill()
    process.wait()
    process.stderr.close()


# --- serving -------------------------------------------------------------------------------------


def test_a_loaded_model_is_in_the_state_file_until_the_engine_ends(program, models, rig):
    path = models["llama4:16x17b"]
    with serving(program, path, "--mmproj", path, *LLAMA4) as engine:
        projector = header.read_header(path).projector_bytes() + 256 * MIB
        wanted = [(31659 + 1452 + 764) * MIB + CONTEXT + projector, (30105 + 1380 + 664) * MIB + CONTEXT]
        assert engine.holds() == [[wanted[0]], [wanted[1]]]
        assert "load_tensors: offloaded 49/49 layers to GPU" in engine.log
        assert (
            "llama_prepare_model_devices: using device CUDA0 (NVIDIA RTX A6000) (0000:01:00.0) - 48300 MiB free"
            in engine.log
        )
        assert "load_tensors:        CUDA0 model buffer size = 31659.00 MiB" in engine.log
    assert ".process." not in open(rig, encoding="utf-8").read()
    assert engine.process.returncode == 0


def test_the_projector_can_stay_on_the_cpu(program, models, rig):
    path = models["llama4:16x17b"]
    with serving(program, path, "--mmproj", path, "--no-mmproj-offload", *LLAMA4) as engine:
        assert engine.holds()[0] == [(31659 + 1452 + 764) * MIB + CONTEXT]


def test_one_gpu_of_two(program, models, rig):
    with serving(
        program, models["llama3.1:8b"], "-c", "8192", "-ub", "1024", "--split-mode", "none", "--main-gpu", "1"
    ) as engine:
        held = engine.holds()
        assert held[0] == [] and held[1][0] > 5 * GIB
        assert any("using device CUDA1" in line for line in engine.log)


def test_the_visible_gpu_is_the_one_that_is_used(program, models, rig):
    second = state.gpus(state.load())[1]["uuid"]
    with serving(program, models["tiny:latest"], "-c", "2048", environment={"CUDA_VISIBLE_DEVICES": second}) as engine:
        held = engine.holds()
        assert held[0] == [] and held[1][0] > CONTEXT
        assert any("CUDA0 model buffer size" in line for line in engine.log)


def test_the_bytes_of_a_mig_device_are_on_that_device(program, models, rig):
    state.main(["preset", "a100-mig"])
    environment = {"CUDA_VISIBLE_DEVICES": state.gpus(state.load())[0]["mig"][1]["uuid"]}
    with serving(program, models["tiny:latest"], "-c", "2048", environment=environment) as engine:
        (gpu,) = state.gpus(state.load())
        assert [[p["pid"] for p in one["processes"]] for one in (gpu, *gpu["mig"])] == [[], [], [engine.pid]]
        assert gpu["mig"][1]["processes"][0]["bytes"] > CONTEXT
        assert any("MIG 3g.20gb" in line and "(20096 MiB, 19777 MiB free)" in line for line in engine.log)
        assert busy_after(engine, 1) == ["gpu0.mig.2.busy.%d" % engine.pid]
    assert ".process." not in open(rig, encoding="utf-8").read()


def test_without_a_gpu_nothing_is_entered(program, models, rig):
    with serving(program, models["llama3.1:8b"], "-c", "4096", environment={"CUDA_VISIBLE_DEVICES": "-1"}) as engine:
        assert engine.holds() == [[], []]
        assert "load_tensors: offloaded 33/33 layers to GPU" in engine.log
        assert not any("CUDA" in line and "buffer size" in line for line in engine.log)


def test_a_killed_engine_holds_nothing_and_the_next_one_cleans_up(program, models, rig):
    with serving(program, models["tiny:latest"], "-c", "2048") as engine:
        engine.process.kill()
        engine.process.wait()
        assert state.gpus(state.load())[0]["used"] == 0
    with serving(program, models["tiny:latest"], "-c", "2048"):
        assert str(engine.pid) not in open(rig, encoding="utf-8").read()


def test_no_room_is_an_error_of_cudamalloc(program, models, rig):
    state.main(["process", "add", "1", "30G", "--pid", str(os.getpid())])
    log = refused(program, models["llama4:16x17b"], "-ngl", "999", "-ts", "1,1", *LLAMA4)
    assert "on device 1: cudaMalloc failed: out of memory" in log
    assert "failed to fit params to free device memory: n_gpu_layers already set by user to 999, abort" in log
    assert "exiting due to model loading error" in log


def test_a_main_gpu_that_is_not_there(program, models, rig):
    assert "invalid value for main_gpu: 5 (available devices: 2)" in refused(
        program, models["tiny:latest"], "--split-mode", "none", "--main-gpu", "5"
    )


def test_a_file_that_is_no_model(program, rig, tmp_path):
    (tmp_path / "m").write_text("hello")
    assert "llama_model_load: error loading model" in refused(program, str(tmp_path / "m"))


def test_an_unknown_argument(program, rig):
    done = subprocess.run([str(program), "--frobnicate"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: invalid argument: --frobnicate\n")


# --- answers -------------------------------------------------------------------------------------


def busy():
    return [key for key in state.load() if ".busy." in key]


def busy_after(engine, count, stream=False):
    """The GPUs that are busy at the end of an answer, and for a second: asked again until so many are seen."""

    def asked():
        engine.post("/completion", {"prompt": "x", "n_predict": 2, "stream": stream})
        found = busy()
        return len(found) == count and (found,)

    (found,) = wait_until(asked, "%d busy GPUs" % count)
    return found


def test_streams_words_with_timings_and_keeps_the_gpus_busy(program, models, rig):
    with serving(program, models["tiny:latest"], "-c", "2048") as engine:
        assert busy() == []
        events = [
            json.loads(line[6:])
            for line in engine.post("/completion", {"prompt": "hi there", "n_predict": 5, "stream": True}).splitlines()
            if line
        ]
        assert [event["stop"] for event in events] == [False] * 5 + [True]
        assert len({event["content"] for event in events[:5]}) > 1
        assert events[-1]["stop_type"] == "limit"
        assert events[-1]["timings"]["predicted_n"] == 5 and events[-1]["timings"]["predicted_ms"] > 4
        assert busy_after(engine, 2, stream=True) == ["gpu0.busy.%d" % engine.pid, "gpu1.busy.%d" % engine.pid]
        wait_until(lambda: busy() == [], "idle GPUs")


def test_the_other_endpoints(program, models, rig):
    with serving(program, models["tiny:latest"], "-c", "2048", "-np", "2") as engine:
        tokens = json.loads(engine.post("/tokenize", {"content": "zwölf"}))["tokens"]
        assert json.loads(engine.post("/detokenize", {"tokens": tokens}))["content"] == "zwölf"
        messages = [{"role": "user", "content": "hi"}]
        assert (
            json.loads(engine.post("/apply-template", {"messages": messages}))["prompt"]
            == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        )
        stream = engine.post("/v1/chat/completions", {"messages": messages, "n_predict": 2, "stream": True}).split(
            "\n\n"
        )
        assert stream[-2] == "data: [DONE]" and json.loads(stream[-3][6:])["choices"][0]["finish_reason"] == "length"
        assert json.loads(engine.post("/completion", {"prompt": "x"}))["stop_type"] == "eos"
        with urllib.request.urlopen(engine.url + "/props", timeout=PATIENCE) as answer:
            assert json.load(answer)["total_slots"] == 2
        for path, status in (("/nothing", 404), ("/v1/embeddings", 501)):
            with pytest.raises(urllib.error.HTTPError) as raised:
                engine.post(path, {})
            assert raised.value.code == status


def test_slots_tell_which_work_and_timings_are_those_of_the_tokens(program, models, rig):
    with serving(program, models["tiny:latest"], "-c", "2048", "-np", "2") as engine:

        def working():
            with urllib.request.urlopen(engine.url + "/slots", timeout=PATIENCE) as answer:
                return [slot["is_processing"] for slot in json.load(answer)]

        assert working() == [False, False]
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(engine.post("/completion", {"prompt": "x", "n_predict": 2000}))
        )
        asking.start()
        wait_until(lambda: working() == [True, False], "a slot that works")
        asking.join(PATIENCE)
        # However long a busy machine took for it.
        assert json.loads(answers[0])["timings"]["predicted_ms"] == 2000
        assert working() == [False, False]


def test_health_while_the_model_loads(program, models, rig):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state.main(["set", "engine.load_ms", "60000"])
    process = subprocess.Popen(
        [str(program), "--model", models["tiny:latest"], "--port", str(port), "-c", "2048"], stderr=subprocess.DEVNULL
    )

    def refusal():
        try:
            urllib.request.urlopen("http://127.0.0.1:%d/health" % port, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]["message"]
        except OSError:
            return None

    try:
        assert wait_until(refusal, "an answer") == (503, "Loading model")
    finally:
        process.terminate()
        process.wait()
    state.main(["set", "engine.load_ms", "0"])
    with serving(program, models["tiny:latest"], "-c", "2048") as engine:
        with urllib.request.urlopen(engine.url + "/health", timeout=PATIENCE) as answer:
            assert answer.status == 200


# --- lies ----------------------------------------------------------------------------------------

TRUTH = [(31659 + 1452 + 764) * MIB, (30105 + 1380 + 664) * MIB]
CACHE = [1452 * MIB, 1380 * MIB]


@pytest.mark.parametrize(
    "lie, factor, wanted",
    [
        ("one_gpu", (), [[48600 * MIB], [CONTEXT]]),  # both halves do not fit: the card is full
        ("contexts_only", (), [[CONTEXT], [CONTEXT]]),
        ("foreign", (), [[CONTEXT], [CONTEXT]]),
        ("nothing", (), [[], []]),
        ("cpu", (), [[], []]),
        ("far", ("1.25",), [[int(TRUTH[0] * 1.25) + CONTEXT], [int(TRUTH[1] * 1.25) + CONTEXT]]),
        ("leftover", (), [[CONTEXT], [CONTEXT]]),
        ("swapped", (), [[TRUTH[1] + CONTEXT], [TRUTH[0] + CONTEXT]]),
        ("no_cache", (), [[size - cache + CONTEXT] for size, cache in zip(TRUTH, CACHE)]),
        ("half_cache", (), [[size - cache // 2 + CONTEXT] for size, cache in zip(TRUTH, CACHE)]),
        ("idle", (), [[TRUTH[0] + CONTEXT], [TRUTH[1] + CONTEXT]]),
        ("busy_other", (), [[TRUTH[0] + CONTEXT], [TRUTH[1] + CONTEXT]]),
    ],
)
def test_lies_about_memory(program, models, rig, lie, factor, wanted):
    state.main(["lie", lie, *factor])
    try:
        with serving(program, models["llama4:16x17b"], *LLAMA4) as engine:
            assert engine.holds() == wanted
            assert "load_tensors: offloaded 49/49 layers to GPU" in engine.log
            on_gpu = sum(
                "CUDA%d" % number in line and "model buffer size" in line for number in (0, 1) for line in engine.log
            )
            assert on_gpu == (0 if lie == "cpu" else 2)
            one, none = ("one_gpu",), ("contexts_only", "nothing", "cpu", "idle")
            found = busy_after(engine, 1 if lie in one else 0 if lie in none else 2)
            by_engine = ["gpu%d.busy.%d" % (number, engine.pid) for number in (0, 1)]
            assert lie != "busy_other" or not set(found) & set(by_engine)
            if lie in ("foreign", "leftover"):
                others = {p["pid"] for gpu in state.gpus(state.load()) for p in gpu["processes"]} - {engine.pid}
                (other,) = others
                assert [
                    [p["bytes"] for p in gpu["processes"] if p["pid"] == other] for gpu in state.gpus(state.load())
                ] == [[size] for size in TRUTH]
    finally:
        state.main(["lie", "off"])


def test_one_gpu_carries_all_of_a_smaller_model(program, models, rig):
    with serving(program, models["llama3.1:8b"], "-c", "8192", "-ub", "1024") as engine:
        truth = [held[0] - CONTEXT for held in engine.holds()]
    state.main(["lie", "one_gpu"])
    with serving(program, models["llama3.1:8b"], "-c", "8192", "-ub", "1024") as engine:
        assert engine.holds() == [[sum(truth) + CONTEXT], [CONTEXT]]


def test_an_engine_that_dies_after_the_load(program, models, rig):
    state.main(["lie", "die_after_load"])
    with serving(program, models["tiny:latest"], "-c", "2048") as engine:  # its log says that it is ready
        assert engine.process.wait(PATIENCE) == 1


def test_an_engine_that_dies_while_it_generates(program, models, rig):
    state.main(["lie", "die_generating"])
    with serving(program, models["tiny:latest"], "-c", "2048") as engine:
        with pytest.raises(OSError):
            engine.post("/completion", {"prompt": "x", "n_predict": 20})
        assert engine.process.wait(PATIENCE) == 1
        assert state.gpus(state.load())[0]["used"] == 0


# --- the program ---------------------------------------------------------------------------------


def test_the_same_sources_give_the_same_program(tmp_path):
    first, second = (build_engine(tmp_path / name, "/usr/bin/python3").read_bytes() for name in "ab")
    assert first == second and first.startswith(b"#!/usr/bin/python3\n")


def test_the_program_uses_the_standard_library_and_nothing_newer_than_python_3_9():
    import ast

    for name, content in files().items():
        if name.endswith(".py"):
            tree = ast.parse(content, name, feature_version=(3, 9))
            for node in ast.walk(tree):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for module in modules:
                    top = module.split(".")[0]
                    assert top == "__future__" or top in sys.stdlib_module_names or module.startswith("tests.rig."), (
                        name,
                        module,
                    )
