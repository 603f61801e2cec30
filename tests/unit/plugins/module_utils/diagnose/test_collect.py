# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is gathered of a host: units and processes of this machine, with what systemd and NVML would say."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import collect

from tests.unit.plugins.module_utils.diagnose.builders import A, gpu, inventory

SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)"


@pytest.fixture(name="process")
def _process():
    """A function that starts a process with these arguments and variables; all are ended afterwards."""
    started = []

    def start(*arguments, **variables):
        made = subprocess.Popen(
            [sys.executable, "-c", SLEEP, *arguments], env=dict(variables, PATH="/bin"), stdout=subprocess.PIPE
        )
        made.stdout.readline()
        started.append(made)
        return made.pid

    yield start
    for made in started:
        made.kill()
        made.wait()
        made.stdout.close()


@pytest.fixture(name="says")
def _says(monkeypatch):
    """A function that sets what systemd, NVML and the journal say."""

    def set_all(units=None, facts=None, journal=()):
        monkeypatch.setattr(collect.systemd, "show", lambda names: units or {})
        monkeypatch.setattr(collect.nvml, "read_inventory", lambda timeout: (facts or inventory(), None))
        monkeypatch.setattr(collect.systemd, "journal", lambda unit, since: (list(journal), None))
        monkeypatch.setattr(collect.kernel_log, "kernel_lines", lambda: ["NVRM: x"])
        # Other servers of this machine are not those of a test.
        everybody = collect.proc.pids

        def own(root="/proc"):
            return [pid for pid in everybody(root) if collect.proc.parent(pid) == os.getpid()]

        monkeypatch.setattr(collect.proc, "pids", own)
        monkeypatch.setattr(collect, "_api", lambda address: ("0.32.15", [{"name": "tiny"}]))

    return set_all


def unit(pid, **more):
    return dict({"Id": "ollama.service", "LoadState": "loaded", "MainPID": str(pid), "FragmentPath": "/x"}, **more)


def test_a_server_its_engine_and_what_they_hold(says, process, tmp_path, monkeypatch):
    pid = process(OLLAMA_HOST="x", LS_COLORS="no")
    engine = process("--model", "/blobs/sha256-1", "--port", "4000")
    monkeypatch.setattr(collect.engines, "engines", lambda name, with_mapped: collect.engines.engines_among([engine]))
    monkeypatch.setattr(collect.engines, "of_server", lambda found, main: found)
    listed = [{"pid": engine, "name": "llama-server", "used_bytes": 5, "unit": None}]
    says({"ollama.service": unit(pid, Environment="OLLAMA_HOST=y OTHER=1")}, inventory(first={"processes": listed}))
    evidence = collect.collect(0, str(tmp_path / "plan.json"))
    (server,) = [one for one in evidence.servers if one.name == "ollama.service"]
    assert server.pid == pid and server.process == {"OLLAMA_HOST": "x"} and server.unit == {"OLLAMA_HOST": "y"}
    assert server.planned is None and server.user == (os.geteuid(), server.user[1])
    (found,) = server.engines
    assert found.process.pid == engine and found.held == {A: 5} and found.name == "sha256-1"
    assert evidence.kernel_lines == ["NVRM: x"] and engine in evidence.cgroups and evidence.under_load == {}


@pytest.mark.parametrize("listed", [["tiny"], ["tiny", "large"]])
def test_an_engine_is_that_of_the_model_with_its_file(says, process, tmp_path, monkeypatch, listed):
    """Which of several loaded models an engine serves is known by the blob. Its contexts are known, too."""
    pid, engine = process(), process("--model", "/blobs/sha256-2", "--port", "4000")
    files = {"tiny": "sha256-2", "large": "sha256-1"}
    says({"ollama.service": unit(pid)})
    monkeypatch.setattr(collect.engines, "engines", lambda name, with_mapped: collect.engines.engines_among([engine]))
    monkeypatch.setattr(collect.engines, "of_server", lambda found, main: found)
    monkeypatch.setattr(collect, "_address", lambda pid, sockets: "http://127.0.0.1:1")
    monkeypatch.setattr(collect, "_api", lambda address: ("0.32.15", [{"name": name} for name in listed]))
    monkeypatch.setattr(
        collect.OllamaClient,
        "show",
        lambda self, name: {
            "modelfile": "FROM /blobs/%s" % files[name],
            "parameters": "num_ctx 8192" if name == "tiny" else None,
            "model_info": {"general.architecture": "llama", "llama.context_length": len(name)},
        },
    )
    (server,) = collect.collect(0, str(tmp_path / "none")).servers
    assert [(one.name, one.asked_context, one.trained_context) for one in server.engines] == [("tiny", 8192, 4)]


def test_a_model_that_the_server_does_not_describe_is_known_by_its_name(says, process, tmp_path, monkeypatch):
    pid, engine = process(), process("--model", "/blobs/sha256-2", "--port", "4000")

    def fails(self, name):
        raise collect.OllamaError("tiny", "not found")

    says({"ollama.service": unit(pid)})
    monkeypatch.setattr(collect.engines, "engines", lambda name, with_mapped: collect.engines.engines_among([engine]))
    monkeypatch.setattr(collect.engines, "of_server", lambda found, main: found)
    monkeypatch.setattr(collect, "_address", lambda pid, sockets: "http://127.0.0.1:1")
    monkeypatch.setattr(collect, "_api", lambda address: ("0.32.15", [{"name": "tiny"}]))
    monkeypatch.setattr(collect.OllamaClient, "show", fails)
    (server,) = collect.collect(0, str(tmp_path / "none")).servers
    assert [(one.name, one.asked_context, one.trained_context) for one in server.engines] == [("tiny", None, None)]


def test_a_server_is_asked_for_the_nodes_of_all_gpus(says, process, tmp_path, monkeypatch):
    monkeypatch.setattr(collect.device_nodes, "closed_nodes", lambda properties, nodes: dict.fromkeys(nodes, "closed"))
    says({"ollama.service": unit(process())}, inventory(first={"minor_number": 3}))
    evidence = collect.collect(0, str(tmp_path / "plan.json"))
    (server,) = [one for one in evidence.servers if one.name == "ollama.service"]
    assert "/dev/nvidia3" in server.closed_nodes


def test_a_plan_names_its_servers(says, tmp_path):
    plan = {"instances": [{"name": "x", "unit": "ollama.service", "url": "http://127.0.0.1:1"}]}
    plan["instances"][0]["models"] = [{"name": "tiny"}]
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    says({"ollama.service": unit(0)})
    (server,) = collect.collect(0, str(tmp_path / "plan.json")).servers
    assert server.planned == plan["instances"][0] and server.pid == 0 and server.version is None


def test_the_server_of_a_benchmark_has_its_name(says, process, tmp_path, monkeypatch):
    name = collect.paths.UNTOUCHED_UNIT
    loaded = unit(process(), Id=name)
    says()
    monkeypatch.setattr(collect.systemd, "show", lambda names: {name: loaded} if name in names else {})
    assert [one.name for one in collect.collect(0, str(tmp_path / "none")).servers if one.pid] == [name]


def test_the_plan_is_compared_with_the_host(says, tmp_path, monkeypatch):
    instance = {"name": "x", "unit": "ollama.service", "url": "http://127.0.0.1:1", "models": [{"name": "tiny"}]}
    says({"ollama.service": unit(0)})
    assert collect.collect(0, str(tmp_path / "plan.json")).proof is None
    (tmp_path / "plan.json").write_text(json.dumps({"instances": [instance]}), encoding="utf-8")
    asked, idle = [], inventory({"processes": []}, {"processes": []})
    monkeypatch.setattr(collect.nvml, "read_inventory", lambda timeout: asked.append(timeout) or (idle, None))
    proof = collect.collect(0, str(tmp_path / "plan.json")).proof
    assert len(asked) == 1, "NVML is read once for both"
    assert proof.verdict == "fail" and proof.diagnosis[0].instance == "x"


def test_a_server_outside_the_known_units(says, process, tmp_path):
    pid = process()
    stray = process("serve")  # another program
    says()
    assert collect.collect(0, str(tmp_path / "none")).servers == () and pid and stray


def test_a_process_named_ollama_that_serves(says, tmp_path):
    program = tmp_path / "ollama"
    program.write_text("#!%s\n%s\n" % (sys.executable, SLEEP), encoding="utf-8")
    program.chmod(0o755)
    made = subprocess.Popen([str(program), "serve"], stdout=subprocess.PIPE)
    try:
        made.stdout.readline()
        says()
        servers = collect.collect(0, str(tmp_path / "none")).servers
        assert made.pid in [server.pid for server in servers]
    finally:
        made.kill()
        made.wait()
        made.stdout.close()


def test_units_that_are_not_loaded_are_none(says, tmp_path):
    says({"ollama.service": unit(0, LoadState="not-found")})
    assert collect.collect(0, str(tmp_path / "none")).servers == ()


@pytest.mark.parametrize("unknown", [{"errors": {"processes": {}}}, {"unsupported": ["processes"]}])
def test_memory_that_nvml_does_not_tell_is_unknown(unknown):
    assert collect._held(1, inventory(first=unknown)) is None
    assert collect._held(1, inventory(state="timeout")) is None


def test_memory_of_a_mig_device_is_its_own():
    device = {"uuid": "MIG-1", "processes": [{"pid": 7, "used_bytes": 9}]}
    facts = inventory()
    facts["gpus"] = [gpu(A, 0, mig={"mode": "enabled", "devices": [device]}, processes=[{"pid": 7, "used_bytes": 9}])]
    assert collect._held(7, facts) == {"MIG-1": 9}
