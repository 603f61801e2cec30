# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module benchmark_untouched: when it stops nothing, and what it says of what went wrong."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.aside import NotAside, NotBack
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.run import Busy
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.temporary_server import NotStarted
from ansible_collections.gpufleet.ollama.plugins.modules import benchmark_untouched

from tests.unit.plugins.modules.run_module import run_module

PLAN = {"instances": []}


def measure(check=False, **options):
    return run_module("benchmark_untouched", dict({"plan": PLAN, "may_disturb": True}, **options), check=check)


@pytest.fixture(name="measured")
def _measured(monkeypatch):
    """The plans that were measured; `error` is raised by it."""

    class Measured(list):
        error = None

    found = Measured()

    def measure_untouched(plan, wanted, lock_timeout):
        found.append((plan, wanted.repeats, lock_timeout))
        if found.error:
            raise found.error
        return benchmark_untouched.untouched.Untouched(release="0.32.15")

    monkeypatch.setattr(benchmark_untouched.untouched, "measure_untouched", measure_untouched)
    return found


def test_what_it_returns(measured):
    found = measure(repeats=5, lock_timeout=7)
    assert found["changed"] and found["benchmark"]["release"] == "0.32.15" and found["benchmark"]["loaded"] == []
    assert measured == [(PLAN, 5, 7)]


@pytest.mark.parametrize("check", [False, True])
def test_a_host_that_nobody_said_may_be_disturbed_is_refused(measured, check):
    found = measure(check, may_disturb=False)
    assert found["failed"] and "set may_disturb" in found["msg"] and measured == []


def test_nothing_is_stopped_in_check_mode(measured):
    assert measure(check=True)["benchmark"]["notes"] == ["Nothing is measured in check mode."] and measured == []


@pytest.mark.parametrize("options", [{"repeats": 0}, {"plan": {}}], ids=str)
def test_options_that_cannot_be_used(measured, options):
    assert measure(**options)["failed"] and measured == []


@pytest.mark.parametrize(
    "error, told, changed",
    [
        (Busy("gpu0 answers."), "gpu0 answers.", False),
        (NotAside("No way back."), "No way back.", False),
        (LockHeld("A run works."), "A run works.", False),
        (NotBack("gpu0 is gone."), "After the measurement, the instances are not as planned: gpu0 is gone.", True),
        (NotStarted("It ended."), "was not measured, and the instances serve again: It ended.", True),
        (OllamaError(500, "engine died"), "was not measured, and the instances serve again", True),
    ],
    ids=str,
)
def test_what_went_wrong_and_what_became_of_the_instances(measured, error, told, changed):
    measured.error = error
    found = measure()
    assert found["failed"] and told in found["msg"] and bool(found.get("changed")) is changed
