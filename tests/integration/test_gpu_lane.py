# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares gpu_facts with `nvidia-smi -q -x` on this machine's real GPUs, field by field, and measures an Ollama that
has a model on them (make gpu).

Skipped on machines without a GPU; the benchmark also where no Ollama with a loaded model answers.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.request
from xml.etree import ElementTree

import pytest

from tests.integration.support import environment, tool

MIB = 1024 * 1024


def real_gpus():
    """Return (root element of the report of nvidia-smi, None), or (None, the reason why there is none)."""
    program = shutil.which("nvidia-smi")
    if not program:
        return None, "this machine has no nvidia-smi"
    answer = subprocess.run(
        [program, "-q", "-x"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False
    )
    if answer.returncode != 0:
        return None, "nvidia-smi says: %s" % answer.stdout.decode("utf-8", "replace").strip().splitlines()[:1]
    root = ElementTree.fromstring(answer.stdout)
    return (root, None) if root.findall("gpu") else (None, "nvidia-smi lists no GPU")


@pytest.fixture(scope="module")
def report():
    root, why = real_gpus()
    if root is None:
        pytest.skip("NOT RUN on a real GPU: %s" % why)
    return root


def module(collections, place, name, options):
    """What a module of the installed archive returns on this machine."""
    answer = subprocess.run(
        [
            tool("ansible"),
            "localhost",
            "-i",
            "localhost,",
            "-c",
            "local",
            "-m",
            "gpufleet.ollama." + name,
            "-a",
            json.dumps(options),
            "-e",
            "ansible_python_interpreter=" + sys.executable,
        ],
        env=environment(collections=collections),
        cwd=str(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout.decode("utf-8", "replace")
    text = answer.stdout.decode("utf-8", "replace")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


@pytest.fixture(scope="module")
def facts(report, collections, tmp_path_factory):
    """The facts that Ansible returns."""
    found = module(collections, tmp_path_factory.mktemp("gpu"), "gpu_facts", {})
    return found["ansible_facts"]["gpu_inventory"]


def number(text):
    """The number at the start of "81559 MiB"; None for N/A."""
    match = re.match(r"-?\d+(\.\d+)?", text or "")
    return float(match.group(0)) if match else None


def pairs(report, facts):
    by_uuid = {gpu["uuid"]: gpu for gpu in facts["gpus"]}
    return [(element, by_uuid.get(element.findtext("uuid"))) for element in report.findall("gpu")]


def test_the_driver(report, facts):
    assert facts["state"] == "ok"
    assert facts["driver_version"] == report.findtext("driver_version")
    assert facts["cuda_version"] == report.findtext("cuda_version")
    assert len(facts["gpus"]) == int(report.findtext("attached_gpus"))


def test_the_identity_of_every_gpu(report, facts):
    for element, gpu in pairs(report, facts):
        assert gpu is not None, "nvidia-smi lists %s, the facts do not" % element.findtext("uuid")
        assert gpu["name"] == element.findtext("product_name")
        domain, rest = element.get("id").lower().split(":", 1)
        assert gpu["pci_bus_id"] == "%04x:%s" % (int(domain, 16), rest)
        assert gpu["minor_number"] == int(element.findtext("minor_number"))
        assert gpu["architecture"].lower() in element.findtext("product_architecture").lower()


def test_the_memory_of_every_gpu(report, facts):
    for element, gpu in pairs(report, facts):
        usage = element.find("fb_memory_usage")
        total = number(usage.findtext("total"))
        if total is None:
            assert gpu["memory"]["kind"] == "unified"
            continue
        memory = gpu["memory"]
        assert memory["kind"] == "dedicated"
        assert abs(memory["total_bytes"] / MIB - total) <= 1
        for name in ("reserved", "used", "free"):
            assert abs(memory["%s_bytes" % name] / MIB - number(usage.findtext(name))) <= 64, name
        # nvml.md 6 (a): version 2 counts the driver's reserve apart from what is used.
        assert (
            abs(memory["total_bytes"] - memory["free_bytes"] - memory["used_bytes"] - memory["reserved_bytes"])
            <= 2 * MIB
        )


def test_the_modes_of_every_gpu(report, facts):
    for element, gpu in pairs(report, facts):
        assert gpu["compute_mode"] == element.findtext("compute_mode").lower().replace(" ", "_")
        assert gpu["persistence_mode"] == (element.findtext("persistence_mode") == "Enabled")
        mig = element.findtext("mig_mode/current_mig")
        assert gpu["mig"]["mode"] == (None if mig in (None, "N/A") else mig.lower())
        ecc = element.findtext("ecc_mode/current_ecc")
        assert gpu["ecc"]["enabled"] == (None if ecc in (None, "N/A") else ecc == "Enabled")
        width = number(element.findtext("pci/pci_gpu_link_info/link_widths/max_link_width"))
        assert gpu["pcie"]["max_width"] == (None if width is None else int(width))


def test_the_sensors_of_every_gpu(report, facts):
    for element, gpu in pairs(report, facts):
        temperature = number(element.findtext("temperature/gpu_temp"))
        if temperature is not None:
            assert abs(gpu["temperature_celsius"] - temperature) <= 15
        if number(element.findtext("utilization/gpu_util")) is not None:
            assert 0 <= gpu["utilization"]["gpu_percent"] <= 100


def test_the_processes_of_every_gpu(report, facts):
    for element, gpu in pairs(report, facts):
        expected = {
            int(process.findtext("pid")): process.findtext("used_memory")
            for process in element.findall("processes/process_info")
        }
        seen = {process["pid"]: process["used_bytes"] for process in gpu["processes"]}
        assert set(seen) == set(expected)
        for pid, text in expected.items():
            if number(text) is not None:
                assert abs(seen[pid] / MIB - number(text)) <= 64


def test_a_healthy_gpu_has_no_errors(facts):
    for gpu in facts["gpus"]:
        assert gpu["health"]["state"] in ("ok", "degraded"), gpu["health"]
        assert gpu["errors"] == {}


URL = "http://127.0.0.1:11434"


def loaded_model():
    """A model that an Ollama of this machine has loaded on a GPU, None without one."""
    try:
        with urllib.request.urlopen(URL + "/api/ps", timeout=10) as answer:
            models = json.loads(answer.read())["models"]
    except (OSError, ValueError, KeyError):
        return None
    return next((model for model in models if model.get("size_vram")), None)


def plan_in_force():
    """The plan of this machine, None without one. No other one can be measured there."""
    path = pathlib.Path("/etc/ollama-multigpu/plan.json")
    return json.loads(path.read_text(encoding="utf-8")) if os.access(path, os.R_OK) else None


def plan_of(model):
    """A plan of the loaded model alone."""
    entry = {"name": model["name"], "create_as": model["name"], "parallel": 1, "keep_alive": "10m"}
    return {"instances": [{"name": "own", "unit": "ollama.service", "url": URL, "models": [entry]}]}


def test_the_benchmark_measures_an_ollama(report, collections, tmp_path):
    """It stays loaded, and its own clock agrees with ours."""
    model = loaded_model()
    if model is None:
        pytest.skip("NOT RUN on a real GPU: no Ollama with a model on a GPU answers at %s" % URL)
    options = {"plan": plan_in_force() or plan_of(model), "loads": 0, "prompts": [32, 256], "repeats": 3}
    found = module(collections, tmp_path, "benchmark_info", options)["benchmark"]
    print(json.dumps(found, indent=1))
    assert {one["prompt"] for one in found["measurements"]} == {32, 256} and found["loads"] == []
    for one in found["measurements"]:
        assert one["tokens_per_second"]["median"] > 0 and one["first_token_seconds"]["median"] > 0
        most = one["streams"] * one["tokens_per_second"]["median"]
        assert one["total_tokens_per_second"]["median"] <= 1.05 * most
