# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What an instance is configured to serve, while a run is under way and after one that was killed."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.configured import configured
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import NO_PLAN, Refused

from tests.unit.plugins.module_utils.evidence.builders import A, B, plan
from tests.unit.plugins.module_utils.program.host import Host


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def other_plan(**environment):
    """The next plan: another model on the same instance, and another environment."""
    changed = copy.deepcopy(plan())
    (instance,) = changed["instances"]
    instance["models"][0].update(name="other", create_as="other-optimized", **{"from": "other"})
    instance["environment"].update(environment)
    return changed


def served(host):
    (one,) = configured(host.places).values()
    return [model["create_as"] for model in one.instance["models"]], one.unfinished


def test_what_was_applied_is_configured(host):
    host.write_instance(plan())
    assert served(host) == (["llama4:16x17b-optimized"], False)
    (one,) = configured(host.places).values()
    assert one.gpu_uuids() == [A, B] and one.plan["ollama_version"] == "0.32.15"


def test_the_plan_of_the_host_counts_where_an_instance_has_none(host):
    """It was applied before there were such files."""
    assert served(host) == (["llama4:16x17b-optimized"], False)


def test_a_run_that_has_changed_the_instance(host):
    host.write_instance(other_plan(NEW="1"), environment={**other_plan()["instances"][0]["environment"], "NEW": "1"})
    assert served(host) == (["other-optimized"], True)


def test_a_run_that_has_changed_the_models_alone(host):
    """The environment fits both plans."""
    host.write_instance(other_plan())
    assert served(host) == (["other-optimized"], True)


def test_the_first_run_of_a_host(host):
    host.places.plan_file.unlink()
    host.write_instance(plan())
    assert served(host) == (["llama4:16x17b-optimized"], True)


def test_a_switch_that_went_back_and_left_the_file(host):
    host.write_instance(other_plan(NEW="1"), environment=plan()["instances"][0]["environment"])
    assert served(host) == (["llama4:16x17b-optimized"], False)


def test_an_environment_of_neither_plan(host):
    """Only what both plans have is loaded."""
    host.write_instance(other_plan(NEW="1"), environment={"BY": "hand"})
    assert served(host) == ([], True)


def test_an_environment_that_was_edited_keeps_nothing_from_being_loaded(host):
    host.write_instance(plan(), environment={"BY": "hand"})
    assert served(host) == (["llama4:16x17b-optimized"], False)


def test_values_that_are_hidden_are_not_compared(host):
    hidden = other_plan(A_TOKEN="(hidden)")
    environment = dict(hidden["instances"][0]["environment"], A_TOKEN="x")
    host.write_instance(hidden, environment=environment)
    assert served(host) == (["other-optimized"], True)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"instances": [{}]}', '{"instances": 1}'])
def test_a_file_that_is_none_counts_for_nothing(host, content):
    host.write_instance(plan())
    host.instance_file("gpu0-1.json").write_text(content, encoding="utf-8")
    assert served(host) == (["llama4:16x17b-optimized"], False)


def test_the_file_of_an_instance_names_only_itself(host):
    host.instance_file("gpu9.json").write_text(json.dumps(plan()), encoding="utf-8")
    assert list(configured(host.places)) == ["gpu0-1"]


def test_the_other_instances_of_the_host_are_known(host):
    """Their processes are none of others."""
    both = plan()
    both["instances"].append(dict(copy.deepcopy(both["instances"][0]), name="gpu9", unit="ollama@gpu9.service"))
    host.places.plan_file.write_text(json.dumps(both), encoding="utf-8")
    found = configured(host.places)["gpu9"]
    assert [one["name"] for one in found.plan["instances"]] == ["gpu0-1", "gpu9"] and found.instance["name"] == "gpu9"


def test_without_any_plan_there_is_a_sentence(host):
    host.places.plan_file.unlink()
    with pytest.raises(Refused, match="no plan") as refused:
        configured(host.places)
    assert refused.value.code == NO_PLAN
