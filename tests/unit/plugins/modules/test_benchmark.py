# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The modules benchmark_info and benchmark_file: options and results."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from contextlib import nullcontext

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError
from ansible_collections.gpufleet.ollama.plugins.modules import benchmark_info

from tests.unit.plugins.modules.run_module import run_module

FOUND = {"release": "0.32.15", "loads": [], "measurements": [], "notes": ["nothing was measured."]}


@pytest.fixture(autouse=True)
def _no_lock(monkeypatch):
    """The lock of this machine is left alone."""
    monkeypatch.setattr(benchmark_info.benchmark, "plan_in_force", lambda *_arguments, **_options: nullcontext())


def measure(**options):
    return run_module("benchmark_info", dict({"plan": {"instances": []}}, **options))


def test_what_it_returns():
    found = measure(quiet_timeout=0)["benchmark"]
    assert found.pop("plan")["models"] == {}
    assert found == {"release": "", "loads": [], "measurements": [], "notes": [], "tokens": 64}


def test_nothing_is_measured_in_check_mode(monkeypatch):
    monkeypatch.setattr(benchmark_info.benchmark, "run", lambda *unused: pytest.fail("it was measured"))
    found = run_module("benchmark_info", {"plan": {"instances": [{}]}}, check=True)
    assert found["benchmark"]["notes"] == ["Nothing is measured in check mode."]


@pytest.mark.parametrize(
    "error",
    [
        benchmark_info.benchmark.Busy("x is busy."),
        benchmark_info.PlanChanged("x is busy."),
        OSError("x is busy"),
        LockHeld("x is busy."),
        OllamaError(500, "x is busy"),
    ],
    ids=repr,
)
def test_what_went_wrong_is_a_sentence(monkeypatch, error):
    def fail(*unused):
        raise error

    monkeypatch.setattr(benchmark_info.benchmark, "run", fail)
    found = measure()
    assert found["failed"] and "x is busy." in found["msg"]


@pytest.mark.parametrize("error", [OllamaError(500, "x is busy"), ModelError("x is busy")], ids=repr)
def test_what_was_measured_before_a_failure_is_returned(monkeypatch, error):
    def fail(_plan, _wanted, _lock_timeout, benchmark):
        benchmark.loads += loads
        benchmark.notes.append("the rest was not measured.")
        raise error

    loads = [{"model": "m", "instances": ["gpu0"], "seconds": None}]
    monkeypatch.setattr(benchmark_info.benchmark, "run", fail)
    found = measure()
    assert found["failed"] and "x is busy." in found["msg"] and found["benchmark"]["loads"] == loads
    assert found["benchmark"]["notes"] == ["the rest was not measured."]
    loads.clear()
    assert measure()["failed"] and "benchmark" not in measure(), "a file without a figure would be the last one"


@pytest.mark.parametrize("options", [{"repeats": 0}, {"tokens": 5000}, {"prompts": [0]}, {"loads": -1}], ids=str)
def test_values_that_cannot_be_measured_with(options):
    assert "give " in measure(**options)["msg"] and next(iter(options)) in measure(**options)["msg"]


def test_the_file_is_written_on_the_controller_only(tmp_path):
    answer = run_module("benchmark_file", {"directory": str(tmp_path), "host": "node1", "benchmark": FOUND})
    assert answer["failed"] and "on the controller" in answer["msg"] and not list(tmp_path.iterdir())


def test_ansible_writes_and_compares_without_a_connection(tmp_path):
    """The host of the play cannot be reached. What is measured later is written into the same file."""
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    options = {"directory": str(tmp_path / "kept"), "host": "{{ inventory_hostname }}", "label": "stand-in"}
    first = {"gpufleet.ollama.benchmark_file": dict(options, benchmark=FOUND), "register": "kept"}
    shown = {"ansible.builtin.debug": {"msg": "{{ kept.lines }} {{ kept.untouched_lines }} {{ kept.compared_with }}"}}
    later = dict(options, benchmark=FOUND, untouched=dict(FOUND, loaded=[], notes=["of the untouched."]))
    second = {"gpufleet.ollama.benchmark_file": dict(later, time="{{ kept.time }}"), "register": "kept"}
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "192.0.2.1,", "play.yml"]

    def play(*tasks, more=(), succeeds=True):
        text = json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [*tasks, shown]}])
        (tmp_path / "play.yml").write_text(text)
        done = subprocess.run(
            [*command, *more],
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections, ANSIBLE_HOME=str(tmp_path), ANSIBLE_NOCOLOR="1"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode == 0) is succeeds and "changed=0" in done.stdout, done.stdout + done.stderr
        return done.stdout

    assert "measurement of: stand-in." in play(first, more=["--check"]) and not (tmp_path / "kept").exists()
    assert "of the untouched." in play(first, {"ansible.builtin.pause": {"seconds": 1}}, second)
    (file,) = (tmp_path / "kept").iterdir()
    written = json.loads(file.read_text())
    assert written["untouched"]["notes"] == ["of the untouched."]
    assert (written["host"], written["label"], written["notes"]) == ("192.0.2.1", "stand-in", FOUND["notes"])
    file.rename(file.with_name("192.0.2.1.20200101T000000Z.json"))
    output = play(first, shown, second)
    assert output.count("It is compared with the benchmark of %s" % written["time"]) == 2
    assert len(list((tmp_path / "kept").iterdir())) == 2
    second["gpufleet.ollama.benchmark_file"]["time"] = "../later"
    assert "time is '../later': give a time that this module has returned." in play(second, succeeds=False)
