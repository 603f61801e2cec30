# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The status: evidence of this moment, beside the plan and the last check."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.checking import check
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import WARNING
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.status import status

from tests.unit.plugins.module_utils.evidence.builders import GIB, A, B, observations
from tests.unit.plugins.module_utils.program.host import Host


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_it_writes_nothing_and_loads_nothing(host):
    answer = status(host.places)
    assert not os.path.exists(host.places.verdict) and not host.collected[0]["load"] | host.collected[0]["generate"]
    assert answer.data["last_check"] is None and "Last check: none yet" in [line.text for line in answer.lines]


def test_it_has_the_last_check_and_the_plan(host):
    check(host.places)
    os.utime(host.places.plan, (0, 0))
    answer = status(host.places)
    assert answer.data["last_check"]["verdict"] == "pass"
    assert answer.data["plan"] == {"ollama_version": "0.32.15", "applied": "1970-01-01T00:00:00Z"}
    assert "Ollama 0.32.15, 1 instance, 1 model" in answer.lines[0].text


def test_models_that_load_are_no_run(host):
    with run_lock(shared=True, path=host.places.lock):
        assert status(host.places).data["run_in_progress"] is False


def test_a_run_and_a_benchmark_are_told_apart(host):
    """A benchmark of an untouched Ollama holds both locks. What is shown of its stopped instances is no failure."""

    def told():
        answer = status(host.places)
        return [line.text for line in answer.lines[2:4] if line.level == WARNING], answer

    with run_lock(path=host.places.benchmark_lock):
        lines, answer = told()
        assert lines == [] and not answer.data["benchmark_in_progress"], "the unit that restores holds it for a moment"
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    with run_lock(path=host.places.lock):
        (line,), answer = told()
        assert line.startswith("A run is changing this host") and not answer.data["benchmark_in_progress"]
        with run_lock(path=host.places.benchmark_lock):
            (line,), answer = told()
    assert line.startswith("A benchmark is measuring an untouched Ollama (ollama-untouched.service)")
    assert "run" not in line.split() and answer.data["benchmark_in_progress"] and answer.data["run_in_progress"]
    assert answer.code == 0 and status(host.places).code == 1
