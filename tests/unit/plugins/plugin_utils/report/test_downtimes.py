# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which instances a run takes down, for how long, and what nothing serves meanwhile."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.downtimes import Downtime, downtimes


def plan(**instances):
    return {
        "instances": [
            {"name": name, "models": [{"name": model} for model in models]} for name, models in instances.items()
        ]
    }


def switch(*instances, restart=(), stop=()):
    return {"instances": list(instances), "restart": list(restart), "stop": list(stop)}


def host(applied, *plans, inactive=()):
    entries = [{"name": one["name"], "active": one["name"] not in inactive} for one in applied.get("instances", [])]
    return {"applied_plan": applied, "instances": entries, "history": {"plans": list(plans)}}


KEPT = {"seconds_without_answer": {"gpu0": 12.5}, "load_seconds": {"gpu0": {"a": 9}, "gpu1": {"a": 2.5, "b": 3}}}


def test_a_first_run_takes_nothing_down():
    assert downtimes([switch("gpu0", restart=["gpu0"])], plan(gpu0=["a"]), host({})) == []


def test_what_was_measured_last_is_told():
    both = plan(gpu0=["a"], gpu1=["a", "b"])
    switches = [switch("gpu0", restart=["gpu0"]), switch("gpu1", restart=["gpu1"])]
    older = {"seconds_without_answer": {"gpu0": 99, "gpu1": 99}, "load_seconds": {}}
    assert downtimes(switches, both, host(both, older, KEPT)) == [
        Downtime("gpu0", True, 12.5, "switch", is_replaced=True),
        Downtime("gpu1", True, 5.5, "load", ("b:latest",)),
    ]
    assert [one.seconds for one in downtimes(switches, both, host(both))] == [None, None]


def test_a_record_of_before_these_were_measured():
    both = plan(gpu0=["a"])
    (one,) = downtimes([switch("gpu0", restart=["gpu0"])], both, host(both, {"tokens_per_second": {}}))
    assert (one.seconds, one.measured_at) == (None, None)


def test_instances_that_are_changed_together_serve_nothing_meanwhile():
    both = plan(gpu0=["a"], gpu1=["a"])
    found = downtimes([switch("gpu0", "gpu1", restart=["gpu0", "gpu1"])], both, host(both))
    assert [one.unserved for one in found] == [("a:latest",), ("a:latest",)]


def test_a_new_instance_serves_for_the_old_one():
    """It was switched before, and the old one does not come back."""
    new = plan(gpu1=["a"])
    found = downtimes(
        [switch("gpu1", restart=["gpu1"]), switch(stop=["ollama@gpu0.service"])], new, host(plan(gpu0=["a"]))
    )
    assert found == [Downtime("gpu0", False, is_replaced=True)]


def test_others_do_not_serve_a_model_that_the_new_plan_drops():
    """Nobody wants it any more, so it is not missed; but it is not true that others serve it."""
    old, new = plan(gpu0=["a", "b"], gpu1=["a"]), plan(gpu0=["a"], gpu1=["a"])
    (one,) = downtimes([switch("gpu0", restart=["gpu0"])], new, host(old))
    assert (one.unserved, one.is_replaced) == ((), False)


def test_nothing_replaces_an_instance_whose_models_are_not_known():
    both = plan(gpu0=[], gpu1=["a"])
    (one,) = downtimes([switch("gpu0", restart=["gpu0"])], both, host(both))
    assert (one.unserved, one.is_replaced) == ((), False)


def test_an_instance_that_is_gone_serves_for_no_other():
    old, new = plan(gpu0=["a"], gpu1=["a"]), plan(gpu1=["a"])
    switches = [switch(stop=["ollama@gpu0.service"]), switch("gpu1", restart=["gpu1"])]
    assert downtimes(switches, new, host(old)) == [
        Downtime("gpu0", False, is_replaced=True),
        Downtime("gpu1", True, unserved=("a:latest",)),
    ]


def test_an_ollama_that_is_taken_over():
    found = downtimes([switch("gpu0", restart=["gpu0"], stop=["ollama.service"])], plan(gpu0=["a"]), host({}))
    assert found == [Downtime("ollama.service", False)]


def test_an_instance_that_does_not_run_is_not_taken_down():
    both = plan(gpu0=["a"])
    assert downtimes([switch("gpu0", restart=["gpu0"])], both, host(both, inactive=["gpu0"])) == []


@pytest.mark.parametrize("models", [["a"], []])
def test_only_models_change(models):
    assert downtimes([switch("gpu0")], plan(gpu0=models), host(plan(gpu0=["b"]))) == []
