# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module benchmark_untouched: when it stops nothing, and what it says of what went wrong."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.in_force import PlanChanged
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.paused import (
    NotMeasured,
    NotPaused,
    NotRestored,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.run import Busy
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld
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

    def measure_untouched(plan, wanted, lock_timeout, outage_limit, benchmark):
        found.append((plan, wanted.repeats, lock_timeout, outage_limit))
        benchmark.release = "0.32.15"
        if found.error:
            raise found.error

    monkeypatch.setattr(benchmark_untouched.untouched, "measure_untouched", measure_untouched)
    return found


def test_what_it_returns(measured):
    found = measure(repeats=5, lock_timeout=7, outage_limit=20)
    assert found["changed"] and found["benchmark"]["release"] == "0.32.15" and found["benchmark"]["loaded"] == []
    assert measured == [(PLAN, 5, 7, 20)]


@pytest.mark.parametrize("check", [False, True])
def test_a_host_that_nobody_said_may_be_disturbed_is_refused(measured, check):
    found = measure(check, may_disturb=False)
    assert found["failed"] and "set may_disturb" in found["msg"] and measured == []


def test_nothing_is_stopped_in_check_mode(measured):
    assert measure(check=True)["benchmark"]["notes"] == ["Nothing is measured in check mode."] and measured == []


@pytest.mark.parametrize("options", [{"repeats": 0}, {"plan": {}}, {"outage_limit": 9}], ids=str)
def test_options_that_cannot_be_used(measured, options):
    assert measure(**options)["failed"] and measured == []


SERVES = (
    "The untouched Ollama was not measured to the end: engine died. The instances were stopped for it, and serve again."
)
GONE = "After the measurement, the host is not as planned: gpu0 is gone. Run the playbook gpufleet.ollama.site."


@pytest.mark.parametrize(
    "error, told, disturbed",
    [
        (Busy("gpu0 answers."), "gpu0 answers.", False),
        (PlanChanged("Another plan."), "Another plan.", False),
        (NotPaused("No unit."), "No unit.", False),
        (LockHeld("A run works."), "A run works. Nothing was measured: wait until it has ended, and run", False),
        (OSError(5, "disk", "lock"), "[Errno 5] disk: 'lock'.", False),
        (NotMeasured("engine died.", False), SERVES, True),
        (NotRestored("gpu0 is gone."), GONE, True),
        (
            NotRestored("gpu0 is gone.", NotMeasured("engine died.", False)),
            GONE + " The measurement itself had failed before: engine died.",
            True,
        ),
    ],
    ids=str,
)
def test_what_went_wrong_and_what_became_of_the_instances(measured, error, told, disturbed):
    """What was measured before is returned where the instances were stopped."""
    measured.error = error
    found = measure()
    assert found["failed"] and found["msg"].startswith(told) and bool(found.get("changed")) is disturbed
    assert (found.get("benchmark") or {}).get("release") == ("0.32.15" if disturbed else None)
