# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Wrong input: one sentence that names the value and the remedy, and no plan."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement.builders import make_plan

TWO = hosts.inventory(hosts.A6000, hosts.A6000)


def refused(entry=None, inventory=TWO, **options):
    facts = models.model("llama4-scout")
    one = {"name": "llama4:16x17b", "model": facts}
    one.update(entry or {})
    version = options.pop("ollama_version", "0.32.15")
    listed = options.pop("models", [one])
    with pytest.raises(PlacementError) as caught:
        make_plan(inventory, listed, version, **options)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "?"))
    return message


@pytest.mark.parametrize("where", ["parameters", "optimized"])
@pytest.mark.parametrize("layers", [1, 2, 48, "2"])
def test_num_gpu_is_explained_as_layers(where, layers):
    parameters = {"num_gpu": layers}
    message = refused(
        {"parameters": parameters} if where == "parameters" else {"optimized": {"parameters": parameters}}
    )
    assert "number of layers, not of GPUs" in message and "49 layers" in message and "allow_cpu_offload" in message


def test_num_gpu_below_all_layers_needs_cpu_offload_and_then_passes():
    entry = {
        "name": "llama4:16x17b",
        "model": models.model("llama4-scout"),
        "parameters": {"num_gpu": 20},
        "allow_cpu_offload": True,
    }
    model = make_plan(TWO, [entry], "0.32.15")["instances"][0]["models"][0]
    assert model["parameters"]["num_gpu"] == 20
    # What the engine will do with it is what is predicted, and what verification expects.
    assert (model["predicted"]["gpu_layers"], model["predicted"]["fully_on_gpu"], model["expected"]["outcome"]) == (
        20,
        False,
        "partial",
    )
    assert (
        sum(device["layers"] for device in model["predicted"]["devices"]) == 20
        and model["predicted"]["host_bytes"] > 30 * 1024**3
    )
    for layers in (49, 999, -1):
        entry = dict(entry, parameters={"num_gpu": layers}, allow_cpu_offload=False)
        assert make_plan(TWO, [entry], "0.32.15")["feasible"]


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"parameters": {"main_gpu": 0}}, ["main_gpu 0", "strategy: single"]),
        ({"parameters": {"nun_gpu": 2}}, ["'nun_gpu'", "mean num_gpu?"]),
        ({"parameters": {"temprature": 0.5}}, ["'temprature'", "mean temperature?"]),
        ({"parameters": {"num_ctx": "many"}}, ["num_ctx", "'many'", "whole number"]),
        ({"parameters": {"num_ctx": 1.5}}, ["num_ctx", "1.5"]),
        ({"parameters": {"temperature": "hot"}}, ["temperature", "'hot'"]),
        ({"parameters": {"num_ctx": 4096}, "context_length": 8192}, ["same setting"]),
        ({"context_length": "many"}, ["context_length", "'many'"]),
        ({"context_length": 0}, ["context_length", "at least"]),
        ({"parallel": 0}, ["parallel", "at least 1"]),
        ({"replicas": "two"}, ["replicas", "'two'"]),
        ({"replicas": 2, "strategy": "split"}, ["replicas 2", "split"]),
        ({"headroom_bytes": -1}, ["headroom_bytes", "at least 0"]),
        ({"strategy": "both"}, ["'both'", "spread"]),
        ({"kv_cache_type": "q9"}, ["'q9'", "q8_0"]),
        ({"kv_cache_type": "q8_0", "flash_attention": False}, ["flash attention"]),
        ({"keep_alive": "soon"}, ["keep_alive", "'soon'", "30m"]),
        ({"keep_alive": 0}, ["keep_alive 0", "unload", "-1"]),
        ({"keep_alive": "0m"}, ["keep_alive 0m", "unload"]),
        ({"keep_alive": True}, ["keep_alive True", "duration"]),
        ({"digest": "sha256:12"}, ["sha256:12", "64"]),
        ({"model": {}}, ["model_info"]),
        ({"model": {"architecture": "llama"}}, ["block_count"]),
        ({"optimized": {"suffix": "a/b"}}, ["a/b", "tag"]),
        ({"optimized": {"suffix": "-" + "a" * 80}}, ["80 characters", "shorter optimized.suffix"]),
        ({"optimized": "fast"}, ["optimized", "'fast'", "dictionary"]),
        ({"optimized": {"parameters": ["num_ctx"]}}, ["num_ctx", "dictionary"]),
        ({"parameters": "temperature"}, ["'temperature'", "dictionary"]),
        ({"parameters": {"num_batch": 0}}, ["num_batch", "at least 1"]),
        ({"parameters": {"num_ctx": -1}}, ["num_ctx", "at least 4"]),
        ({"parameters": {"temperature": float("nan")}}, ["temperature", "nan"]),
        ({"context_length": "max"}, ["'max'", "tokens", "auto"]),
        ({"context_length": "32k"}, ["'32k'", "tokens", "auto"]),
        ({"context_length": float("inf")}, ["inf", "whole number"]),
        ({"parallel": -1}, ["parallel", "at least 1"]),
        ({"insecure": "perhaps"}, ["insecure", "'perhaps'"]),
        ({"name": "m:" + "a" * 81}, ["80 characters"]),
    ],
)
def test_wrong_settings_of_a_model(entry, words):
    message = refused(entry)
    for word in words:
        assert word in message


def test_a_pin_that_the_registry_does_not_keep():
    facts = dict(models.model("llama4-scout"), digest="sha256:" + "b" * 64)
    message = refused({"model": facts, "digest": "sha256:" + "a" * 64})
    assert "b" * 64 in message and "a" * 64 in message and "change the pin" in message
    assert make_plan(TWO, [{"name": "llama4:16x17b", "model": facts, "digest": facts["digest"]}], "0.32.15")["feasible"]


@pytest.mark.parametrize(
    "name", ["../x", "a:{{7*7}}", "a b", "a\nb", "a:b:c", "", "/etc/passwd", "a/../b", "-rf", None, 7]
)
def test_hostile_names(name):
    assert "[host/][namespace/]model[:tag]" in refused({"name": name})


@pytest.mark.parametrize(
    "name", ["llama4:16x17b", "hf.co/org/repo-GGUF:Q4_K_M", "registry.local:5000/library/llama3", "user/model"]
)
def test_ordinary_names_pass(name):
    assert make_plan(TWO, [{"name": name, "model": models.model("llama3.1-8b")}], "0.32.15")["feasible"]


def test_a_model_listed_twice():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    for name in ("llama3:latest", "LLAMA3", "library/llama3", "registry.ollama.ai/library/llama3:latest"):
        assert "twice" in refused(models=[entry, dict(entry, name=name)])
    both = [entry, dict(entry, optimized={"suffix": "-long"}, context_length=32768)]
    assert make_plan(TWO, both + [dict(entry, name="someone/llama3")], "0.32.15")["feasible"]
    assert "No model" in refused(models=[])


@pytest.mark.parametrize(
    "environment, words",
    [
        ({"OLLAMA_KEEP_ALVE": "5m"}, ["OLLAMA_KEEP_ALVE", "OLLAMA_KEEP_ALIVE?"]),
        ({"OLAMA_DEBUG": "1"}, ["OLLAMA_DEBUG?"]),
        ({"OLLAMA_SOMETHING_ELSE": "1"}, ["ignore it silently"]),
        ({"LLAMA_ARG_THREDS": "4"}, ["LLAMA_ARG_THREADS?"]),
        ({"LLAMA_ARG_SWA_FULL": "1"}, ["LLAMA_ARG_SWA_FULL", "leave it out"]),
        ({"OLLAMA_NUM_PARALLEL": "many"}, ["OLLAMA_NUM_PARALLEL", "'many'"]),
        ({"OLLAMA_FLASH_ATTENTION": "fales"}, ["'fales'", "1 or 0"]),
        ({"OLLAMA_KEEP_ALIVE": "soon"}, ["'soon'", "30m"]),
        ({"OLLAMA_HOST": "0.0.0.0"}, ["OLLAMA_HOST", "listen_address"]),
        ({"OLLAMA_SCHED_SPREAD": "1"}, ["strategy: spread"]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, ["selectors"]),
        ({"NVIDIA_VISIBLE_DEVICES": "0"}, ["NVIDIA_VISIBLE_DEVICES", "selectors"]),
        ({"HIP_VISIBLE_DEVICES": "0"}, ["HIP_VISIBLE_DEVICES", "selectors"]),
        ({"LD_PRELOAD": "/opt/x.so"}, ["LD_PRELOAD", "leave it out"]),
        ({"LD_AUDIT": "/opt/x.so"}, ["LD_AUDIT", "leave it out"]),
        ({"LD_LIBRARY_PATH": "/opt/cuda/lib64"}, ["LD_LIBRARY_PATH", "verified", "leave it out"]),
        ({"OLLAMA_VULKAN": "1"}, ["OLLAMA_VULKAN", "always 0"]),
        ({"GGML_CUDA_ENABLE_UNIFIED_MEMORY": 1}, ["host's memory", "leave it out"]),
        ({"OLLAMA_KEEP_ALIVE": "0"}, ["OLLAMA_KEEP_ALIVE", "'0'", "unload", "-1"]),
        ({"OLLAMA_LLM_LIBRARY": "cpu"}, ["'cpu'", "cuda_v12"]),
        ("OLLAMA_DEBUG=1", ["OLLAMA_DEBUG=1", "dictionary"]),
        ({"OLLAMA_ORIGINS": "a\nExecStart=/bin/sh"}, ["OLLAMA_ORIGINS", "line break"]),
        ({"A B": "1"}, ["'A B'"]),
        ({"HTTPS_PROXY": ["x"]}, ["HTTPS_PROXY", "list"]),
    ],
)
def test_wrong_environment(environment, words):
    message = refused(environment=environment)
    for word in words:
        assert word in message


def test_values_arrive_unchanged():
    given = {
        "HTTPS_PROXY": "http://a:b@proxy:3128",
        "OLLAMA_ORIGINS": "50% $HOME \"q\" 'q' \\ end",
        "OLLAMA_DEBUG": 1,
        "OLLAMA_NOPRUNE": True,
    }
    result = make_plan(TWO, [{"name": "llama3", "model": models.model("llama3.1-8b")}], "0.32.15", environment=given)
    environment = result["instances"][0]["environment"]
    assert (
        environment["OLLAMA_ORIGINS"] == given["OLLAMA_ORIGINS"] and environment["HTTPS_PROXY"] == given["HTTPS_PROXY"]
    )
    assert environment["OLLAMA_DEBUG"] == "1" and environment["OLLAMA_NOPRUNE"] == "1"
    assert all(isinstance(value, str) for value in environment.values())


def test_the_environment_gives_defaults_that_a_model_overrides():
    given = {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_CONTEXT_LENGTH": "4096", "OLLAMA_NUM_PARALLEL": 2}
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    model = make_plan(TWO, [entry], "0.32.15", environment=given)["instances"][0]["models"][0]
    assert (model["kv_cache_type"], model["context_length"], model["parallel"]) == ("q8_0", 4096, 2)
    instance = make_plan(TWO, [dict(entry, context_length=8192, kv_cache_type="f16")], "0.32.15", environment=given)[
        "instances"
    ][0]
    assert (
        instance["environment"]["OLLAMA_CONTEXT_LENGTH"] == "8192"
        and instance["environment"]["OLLAMA_KV_CACHE_TYPE"] == "f16"
    )


@pytest.mark.parametrize(
    "options, words",
    [
        ({"base_port": 70000}, ["70000", "65535", "11434"]),
        ({"base_port": 0}, ["base_port", "at least 1"]),
        ({"base_port": float("inf")}, ["base_port", "inf"]),
        ({"listen_address": ""}, ["''", "127.0.0.1"]),
        ({"listen_address": "10.0.0.1:11434"}, ["10.0.0.1:11434", "base_port"]),
        ({"listen_address": "300.1.2.3"}, ["300.1.2.3"]),
        ({"listen_address": "::::"}, ["::::"]),
        ({"listen_address": "[::1"}, ["[::1"]),
        ({"listen_address": "[127.0.0.1]"}, ["[127.0.0.1]"]),
        ({"listen_address": "fe80::1%eth0"}, ["fe80::1%eth0"]),
        ({"listen_address": "http://localhost"}, ["http://localhost"]),
        ({"models_dir": "/a\nb"}, ["'/a\\nb'", "systemd"]),
        ({"models_dir": "/a b"}, ["'/a b'", "' '", "systemd"]),
        ({"models_dir": "/%h"}, ["'/%h'", "'%'"]),
        ({"models_dir": "/srv/../etc"}, ["'/srv/../etc'", "absolute"]),
        ({"ollama_version": "0.30"}, ["'0.30'", "0.32.15"]),
        ({"ollama_version": "\u0660.\u0661.\u0662"}, ["number of a release"]),
        ({"selectors": [""]}, ["''", TWO["gpus"][0]["uuid"]]),
        ({"base_port": "http"}, ["'http'"]),
        ({"listen_address": "not an address"}, ["not an address"]),
        ({"models_dir": "models"}, ["'models'", "absolute"]),
        ({"headroom_bytes": "1GiB"}, ["headroom_bytes", "'1GiB'"]),
        ({"overhead_bytes": -1}, ["overhead_bytes"]),
        ({"ollama_version": "latest"}, ["'latest'"]),
        ({"selectors": ["7"]}, ["'7'", TWO["gpus"][0]["uuid"]]),
        ({"selectors": ["GPU-nope"]}, ["'GPU-nope'"]),
    ],
)
def test_wrong_settings_of_the_host(options, words):
    message = refused(**options)
    for word in words:
        assert word in message


@pytest.mark.parametrize("given, planned", [(None, -1), ("-1", -1), (300, 300), ("24h", "24h"), ("1h30m", "1h30m")])
def test_keep_alive(given, planned):
    entry = {"name": "llama3", "model": models.model("llama3.1-8b"), "keep_alive": given}
    assert make_plan(TWO, [entry], "0.32.15")["instances"][0]["models"][0]["keep_alive"] == planned


def test_ports_that_run_past_the_last_one():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    with pytest.raises(PlacementError, match="65536"):
        make_plan(TWO, [entry], "0.32.15", base_port=65535)


def test_addresses():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    instance = make_plan(TWO, [entry], "0.32.15", listen_address="0.0.0.0")["instances"][0]
    assert (instance["environment"]["OLLAMA_HOST"], instance["url"]) == ("0.0.0.0:11434", "http://127.0.0.1:11434")
    for given in ("::", "[::]", "0:0:0:0:0:0:0:0"):
        instance = make_plan(TWO, [entry], "0.32.15", listen_address=given)["instances"][0]
        assert (instance["address"], instance["environment"]["OLLAMA_HOST"], instance["url"]) == (
            "::",
            "[::]:11434",
            "http://[::1]:11434",
        )
    for given, host in (
        ("[FD00::5]", "[fd00::5]"),
        ("gpu-1.example.org", "gpu-1.example.org"),
        ("localhost", "localhost"),
    ):
        instance = make_plan(TWO, [entry], "0.32.15", listen_address=given)["instances"][0]
        assert instance["environment"]["OLLAMA_HOST"] == host + ":11434" and instance["url"] == "http://%s:11434" % host


def test_numbers_may_be_given_as_text_as_templates_produce_them():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    as_text = dict(entry, parallel="2", headroom_bytes="2147483648", context_length=" 8192 ", insecure="no")
    numbers = dict(entry, parallel=2, headroom_bytes=2147483648, context_length=8192)
    assert make_plan(
        TWO, [as_text], "0.32.15", headroom_bytes="1073741824", base_port="11500", overhead_bytes="1000"
    ) == make_plan(TWO, [numbers], "0.32.15", base_port=11500, overhead_bytes=1000)


def test_a_pin_may_leave_out_how_it_was_made():
    facts = dict(models.model("llama3.1-8b"), digest="sha256:" + "b" * 64)
    result = make_plan(TWO, [{"name": "llama3", "model": facts, "digest": "b" * 64}], "0.32.15")
    assert result["instances"][0]["models"][0]["digest"] == facts["digest"]


def test_variables_that_are_allowed_but_said():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    result = make_plan(
        TWO,
        [entry],
        "0.32.15",
        environment={"OLLAMA_NEW_ENGINE": "1", "OLLAMA_FLASH_ATTENTION": "", "OLLAMA_NUM_PARALLEL": ""},
    )
    environment = result["instances"][0]["environment"]
    assert environment["OLLAMA_NEW_ENGINE"] == "1" and any(
        "OLLAMA_NEW_ENGINE" in warning for warning in result["warnings"]
    )
    assert "OLLAMA_FLASH_ATTENTION" not in environment and environment["OLLAMA_NUM_PARALLEL"] == "1"


# -- facts that no module returned ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        ({"block_count": "48"}, ["block_count '48'"]),
        ({"block_count": -1}, ["block_count -1"]),
        ({"block_count": 10**9}, ["48 layers", "1000000000"]),
        ({"layers": []}, ["does not say layers"]),
        ({"layers": [{"index": 0}] * 48}, ["Layer 0", "weight_bytes"]),
        ({"layers": ["x"] * 48}, ["Layer 0"]),
        ({"layers": "x"}, ["no list of layers"]),
        ({"context_length": 0}, ["context_length 0"]),
        ({"vocab_size": 1.5}, ["vocab_size 1.5"]),
        ({"vocab_size": None}, ["does not say vocab_size"]),
        ({"file_bytes": 0, "size_bytes": 0}, ["0 bytes"]),
        ({"head_count": ["x"] * 48}, ["head_count ['x'"]),
        ({"head_count_kv": [None] * 48}, ["head_count_kv [None"]),
        ({"architecture": ["llama"]}, ["architecture ['llama']"]),
        ({"capabilities": 5}, ["capabilities 5"]),
        ({"head_count_kv": -8}, ["head_count_kv -8"]),
        ({"projector_bytes": "1 GB"}, ["projector_bytes '1 GB'"]),
        ({"sliding_window": "x"}, ["sliding_window 'x'"]),
    ],
)
def test_facts_of_a_model_that_cannot_be(change, words):
    message = refused({"model": dict(models.model("llama4-scout"), **change)})
    for word in words:
        assert word in message


def test_a_model_without_attention_passes():
    facts = dict(
        models.model("llama3.1-8b"),
        architecture="mamba",
        head_count=0,
        head_count_kv=0,
        key_length=None,
        value_length=None,
    )
    for version in ("0.32.15", "0.24.0", "0.11.4"):
        assert make_plan(TWO, [{"name": "mamba", "model": facts}], version)["feasible"]


def _gpu(**changes):
    return dict(TWO, gpus=[dict(TWO["gpus"][0], **changes)])


@pytest.mark.parametrize(
    "inventory, words",
    [
        ("facts", ["gpu_inventory is 'facts'"]),
        ({"gpus": "x"}, ["gpus of gpu_inventory"]),
        ({"gpus": [], "unlisted": "0000:01:00.0"}, ["unlisted of gpu_inventory"]),
        ({"gpus": [{"architecture": 3.5}]}, ["architecture of GPU 0"]),
        ({"gpus": [7]}, ["gpus of gpu_inventory", "7"]),
        (_gpu(memory={"total_bytes": "48 GB", "free_bytes": 1}), ["total_bytes", "'48 GB'"]),
        (_gpu(memory=[1]), ["memory", "[1]"]),
        (_gpu(processes=[{"used_bytes": "x"}]), ["used_bytes", "'x'"]),
        (_gpu(mig={"mode": "enabled", "devices": [7]}), ["devices", "7"]),
        (_gpu(health="bad"), ["health", "'bad'"]),
        (_gpu(uuid=5), ["uuid", "5"]),
        (dict(TWO, topology=[{"path": "SYS", "uuids": ["a"]}]), ["uuids", "['a']"]),
        (dict(TWO, topology=["x"]), ["topology", "'x'"]),
    ],
)
def test_facts_of_gpus_that_cannot_be(inventory, words):
    message = refused(inventory=inventory)
    for word in words + ["gpu_inventory of gpu_facts, whole"]:
        assert word in message


def test_facts_of_gpus_of_which_much_is_unknown_pass():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    unknown = dict.fromkeys(
        (
            "compute_capability",
            "architecture",
            "name",
            "compute_mode",
            "mig",
            "health",
            "processes",
            "numa_node",
            "pci_bus_id",
        )
    )
    assert make_plan(_gpu(**unknown), [entry], "0.32.15")["feasible"]
    for inventory in ({}, {"gpus": None, "topology": None}, _gpu(memory=None), _gpu(uuid=None)):
        result = make_plan(inventory, [entry], "0.32.15")
        assert not result["feasible"] and result["models"][0]["reason"].startswith("No usable GPU: ")
