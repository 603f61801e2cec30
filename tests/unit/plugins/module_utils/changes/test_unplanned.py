# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that the plan does not give to an instance."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import unplanned

from tests.unit.plugins.module_utils.changes.builders import model, plan, serving

OPTIMIZED = "tiny:latest-optimized"


def offers(*names, instance="gpu0"):
    return {instance: {"models": [{"name": name} for name in names]}}


def names_of(wanted, servers):
    return [state.name for state in unplanned.unplanned_models(wanted, servers)]


def test_what_the_plan_gives_an_instance_or_makes_from_it_is_planned():
    wanted = plan(model("tiny", create_as=OPTIMIZED))
    assert names_of(wanted, offers("tiny:latest", OPTIMIZED)) == []


def test_names_are_compared_as_ollama_does():
    # Ollama's names ignore case; the default registry, namespace and tag may be left out.
    assert names_of(plan(model("registry.ollama.ai/library/Tiny:latest")), offers("tiny:latest")) == []


def test_a_model_that_is_not_planned_is_named_with_its_place():
    wanted = plan(model("tiny", create_as=OPTIMIZED))
    found = unplanned.unplanned_models(wanted, offers("tiny:latest", "small:latest", "tiny:latest-old"))
    assert [(state.name, state.state, state.instance, state.url, state.store) for state in found] == [
        (name, "absent", "gpu0", "http://127.0.0.1:11434", "/models/instances/gpu0")
        for name in ("small:latest", "tiny:latest-old")
    ]
    servers = serving(wanted)
    servers["gpu0"]["models"].append({"name": "small:latest", "digest": "e" * 64})
    changes, _states = unplanned.compare_unplanned(wanted, servers, ())
    assert [(one.kind, one.what, one.reason) for one in changes] == [
        ("delete", "small:latest", "The plan does not give it to gpu0.")
    ]


@pytest.mark.parametrize("servers", [{}, {"gpu0": {}}, {"gpu0": {"models": None}}, offers("small", instance="gpu7")])
def test_an_instance_that_does_not_answer_has_nothing_to_remove(servers):
    assert names_of(plan(model()), servers) == []


def test_what_is_loaded_is_unloaded_unless_the_server_starts_anew():
    wanted = plan(model("tiny", OPTIMIZED))
    servers = serving(wanted)
    other = {"name": "small:latest", "digest": "e" * 64}
    servers["gpu0"]["models"].append(other)
    servers["gpu0"]["loaded"].append(other)
    changes, states = unplanned.compare_unplanned(wanted, servers, ())
    assert [one.kind for one in changes] == ["delete", "unload"]
    assert [state.state for state in states] == ["absent", "unloaded"]
    assert [one.kind for one in unplanned.compare_unplanned(wanted, servers, {"gpu0"})[0]] == ["delete"]
    # A further name of a model that is planned: its engine stays.
    other["digest"] = servers["gpu0"]["models"][1]["digest"]
    servers["gpu0"]["loaded"] = [dict(servers["gpu0"]["loaded"][0], name="small:latest")]
    assert [one.kind for one in unplanned.compare_unplanned(wanted, servers, ())[0]] == ["delete"]
