# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the instances of a host are configured with."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.configured import configured_plan

from .builders import entry


def of(name, port):
    return {"name": name, "port": port}


APPLIED = {"ollama_version": "0.32.14", "instances": [of("gpu0", 1), of("gpu1", 2)]}


def test_what_an_unfinished_run_has_written_counts():
    host = {"instances": [entry("gpu0", plan={"instances": [of("gpu0", 3)]}), entry("gpu1", plan={})]}
    assert configured_plan(APPLIED, host) == dict(APPLIED, instances=[of("gpu0", 3), of("gpu1", 2)])


def test_a_first_run_has_configured_instances_before_there_is_a_plan():
    assert configured_plan({}, {"instances": [entry("gpu0", plan={"instances": [of("gpu0", 3)]})]}) == {
        "instances": [of("gpu0", 3)]
    }


def test_without_plans_of_instances_the_applied_plan_counts():
    assert configured_plan(APPLIED, {"instances": [entry("gpu0")]}) == APPLIED
    assert configured_plan({}, {"instances": []}) == {}


def test_a_damaged_plan_of_an_instance_counts_for_nothing():
    for damaged in ([None], ["gpu0"], [{}], [of("gpu1", 9)]):
        assert configured_plan(APPLIED, {"instances": [entry("gpu0", plan={"instances": damaged})]}) == APPLIED
