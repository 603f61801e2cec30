# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the fetch server brings: each model once, and under names that do not exclude each other."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import task_loops
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.models import compare_models
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse

from tests.unit.plugins.module_utils.changes.builders import contents, model, plan, server, serving

OPTIMIZED = "tiny:latest-optimized"


def two(first, second):
    wanted = plan(model("tiny", OPTIMIZED, parameters=first))
    wanted["instances"] += plan(model("tiny", OPTIMIZED, parameters=second), name="gpu1", port=11435)["instances"]
    return wanted


def compared(wanted, servers):
    return compare_models(wanted, servers, {}, ["/models/fetch", "/old"], set(), {})


def test_what_two_instances_need_is_fetched_once_into_a_store_of_its_own():
    same = {"num_ctx": 4096}
    changes, states, fetched = compared(two(same, same), {"gpu0": server(), "gpu1": server()})
    assert [(state.name, state.base) for state in fetched] == [("tiny", ""), (OPTIMIZED, "tiny")]
    assert {(state.instance, state.url, state.store) for state in fetched} == {("fetch", "", "/models/fetch")}
    assert fetched[0].link_from == ("/models/instances/gpu0", "/models/instances/gpu1", "/old")
    assert [(change.kind, change.instance) for change in changes if change.kind in ("fetch", "create", "link")] == [
        ("fetch", ""),
        ("create", ""),
        *[("link", name) for name in ("gpu0", "gpu0", "gpu1", "gpu1")],
    ]
    assert "/models/fetch" in states[0].link_from and {state.staged_as for state in states} == {""}


def test_models_of_one_name_get_names_of_their_own():
    """As num_gpu 999 is written only for the instance whose GPU keeps enough memory free."""
    wanted = two({"num_ctx": 4096}, {"num_ctx": 4096, "num_gpu": 999})
    _changes, states, fetched = compared(wanted, {"gpu0": server(), "gpu1": server()})
    names = [state.name for state in fetched]
    assert names[:2] == ["tiny", OPTIMIZED] and len(set(names)) == 3
    assert fetched[2].parameters == {"num_ctx": 4096, "num_gpu": 999} and parse(names[2]).model == "tiny"
    (other,) = [state for state in states if state.staged_as]
    assert (other.instance, other.name, other.staged_as) == ("gpu1", OPTIMIZED, names[2])
    again = compared(wanted, {"gpu0": server(), "gpu1": server()})[2]
    assert [state.name for state in again] == names


def with_adapters(*numbers):
    wanted = two({"num_ctx": 4096}, {"num_ctx": 4096})
    for instance, number in zip(wanted["instances"], numbers):
        told = {"digest": "sha256:" + number * 64, "size_bytes": 6, "kind": "file", "where": "/lora.gguf"}
        instance["models"][0]["adapters"] = [told]
    return compared(wanted, {"gpu0": server(), "gpu1": server()})


def test_models_with_other_adapters_get_names_of_their_own():
    _changes, states, fetched = with_adapters("1", "2")
    assert len({state.name for state in fetched}) == 3 and len([state for state in states if state.staged_as]) == 1
    assert task_loops._sent(tuple(fetched)) == ["1" * 64, "2" * 64]
    assert {state.name for state in fetched} != {state.name for state in with_adapters("1", "3")[2]}


def test_a_long_tag_has_room_for_the_name_of_its_own():
    wanted = two({"num_ctx": 4096}, {"num_ctx": 8192})
    for instance in wanted["instances"]:
        instance["models"][0]["create_as"] = "tiny:" + "x" * 80
    assert [parse(state.name).tag[:70] for state in compared(wanted, {})[2][1:]] == ["x" * 70] * 2


def test_a_model_that_another_instance_has_as_planned_is_linked_from_there():
    wanted = two({"num_ctx": 4096}, {"num_ctx": 4096})
    servers = serving(wanted)
    servers["gpu1"] = server("tiny:latest")
    servers["gpu1"]["environment"]["process"]["OLLAMA_MODELS"] = "/models/instances/gpu1"
    changes, _states, fetched = compared(wanted, servers)
    assert fetched == []
    assert [change.details for change in changes if change.kind == "link"] == [{"from": "gpu0"}]
    servers["gpu0"]["contents"][OPTIMIZED] = contents({"num_ctx": 1024})
    assert [state.name for state in compared(wanted, servers)[2]] == [OPTIMIZED]
