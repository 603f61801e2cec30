# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What stores hold, and that the list of changes says "link", "fetch" or nothing as the run will do."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.held_models import held_models

from tests.unit.plugins.module_utils.changes.builders import (
    EXISTING,
    applied_host,
    contents,
    difference,
    entry,
    host,
    model,
    plan,
    server,
    serving,
)

DIGEST = "sha256:" + "b" * 64
OWN = "/models/instances/gpu0"
#: Of an instance that the plan does not have; its models can be linked.
STALE = "/models/instances/gpu7"
STOPPED = {"gpu0": server(unit={"active_state": "inactive", "needs_daemon_reload": False}, reachable=False)}


def store(*names, same=True, owned=True, digest=DIGEST):
    """A store as host_info lists it."""
    models = [{"name": name, "digest": digest, "size_bytes": 3 * 1024**3} for name in names]
    return {"same_file_system": same, "owned": owned, "models": models, "problems": [], "notes": []}


def stale_host(wanted, stores):
    """A host as planned, with a store of an instance that is gone."""
    state = applied_host(wanted, stores=stores)
    state["instances"].append(entry("gpu7", active=False, enabled=False, env_file=False, release=None))
    return state


def brought(wanted, state, servers=None, **settings):
    """[(kind, instance, reason)] of the models that are brought."""
    changes = difference(wanted, state, servers, **settings).changes
    return [
        (change.kind, change.instance, change.reason)
        for change in changes
        if change.object == "model" and change.kind in ("fetch", "link", "copy", "create")
    ]


def test_what_a_stopped_instance_has_is_not_brought():
    wanted = plan(model("tiny"))
    stores = {OWN: store("tiny:latest")}
    assert brought(wanted, applied_host(wanted, stores=stores), STOPPED) == []
    missing = applied_host(wanted, stores=dict(stores, **{OWN: store()}))
    assert brought(wanted, missing, STOPPED) == [
        ("fetch", "", "The store of gpu0 does not have it."),
        ("link", "gpu0", "It is fetched before the switch."),
    ]


def test_what_an_optimized_model_of_a_stopped_instance_contains_is_read_in_its_store():
    wanted = plan(model("tiny", "tiny:optimized"))
    state = applied_host(wanted, stores={OWN: store("tiny:latest", "tiny:optimized")})
    (made, linked) = brought(wanted, state, STOPPED)
    assert made == ("create", "", "What it contains is not known.") and linked[:2] == ("link", "gpu0")
    told = {"tiny:latest": contents(), "tiny:optimized": contents({"num_ctx": 4096})}
    stopped = {"gpu0": dict(STOPPED["gpu0"], contents=told)}
    assert brought(wanted, state, stopped) == []
    told["tiny:optimized"] = contents({"num_ctx": 2048})
    assert brought(wanted, state, stopped)[0] == ("create", "", "num_ctx is 2048, not 4096.")


def test_a_pin_counts_in_stores():
    stores = {OWN: store("tiny:latest", digest="sha256:" + "c" * 64), STALE: store("tiny:latest")}
    wanted = plan(model("tiny", digest=DIGEST))
    ((kind, unused, reason),) = brought(wanted, stale_host(wanted, stores), STOPPED)
    assert kind == "link" and "another digest" in reason
    stores[STALE] = store("tiny:latest", digest="sha256:" + "d" * 64)
    assert [change[0] for change in brought(wanted, stale_host(wanted, stores), STOPPED)] == ["fetch", "link"]


def adopting(*instances, **settings):
    """(plan, host) of a host whose Ollama, with a model, is adopted for these instances."""
    wanted = plan(model("tiny"))
    for number in range(1, len(instances)):
        wanted["instances"] += plan(model("tiny"), name=instances[number], port=11434 + number)["instances"]
    return wanted, host(existing=EXISTING, stores={"/old/models": store("tiny:latest", **settings)})


def test_the_models_of_an_adopted_ollama_are_linked():
    wanted, state = adopting("gpu0")
    assert brought(wanted, state, adopt=True) == [("link", "gpu0", "The store of gpu0 does not have it.")]


@pytest.mark.parametrize("why", [{"same": False}, {"owned": False}])
def test_what_cannot_be_linked_is_copied_once_and_its_bytes_are_said(why):
    wanted, state = adopting("gpu0", "gpu1", **why)
    changes = difference(wanted, state, adopt=True)
    (copy,) = changes.of("copy", "model")
    assert copy.details == {"from": "/old/models", "bytes": 3 * 1024**3} and copy.instance == ""
    assert "3.0 GiB are copied from /old/models, whose files cannot be linked" in copy.reason
    links = changes.of("link", "model")
    assert [(link.instance, link.details) for link in links] == [
        ("gpu0", {"from": "/models/fetch"}),
        ("gpu1", {"from": "/models/fetch"}),
    ]
    assert changes.obstacles == () and changes.of("fetch", "model") == []
    order = [change.kind for change in changes.changes if change.object == "model"]
    assert order == ["copy", "link", "link", "load", "load"]


def test_a_store_that_can_be_linked_from_goes_before_one_that_is_copied():
    wanted, state = adopting("gpu0", owned=False)
    state["instances"].append(entry("gpu7", active=False, enabled=False, env_file=False, release=None))
    state["stores"][STALE] = store("tiny:latest")
    assert [change[0] for change in brought(wanted, state, adopt=True)] == ["link"]


def test_the_models_of_a_models_directory_before_are_linked():
    wanted = plan(model("tiny"))
    before = "/before/instances/gpu0"
    left_behind = {"path": "/before/instances", "size_bytes": 1, "stores": [before], "same_file_system": True}
    stores = {before: store("tiny:latest")}
    state = applied_host(wanted, instances=[entry("gpu0", store=False)], left_behind=left_behind, stores=stores)
    servers = serving(wanted)
    servers["gpu0"]["environment"]["process"]["OLLAMA_MODELS"] = before
    changes = difference(wanted, state, servers)
    assert [change.details for change in changes.of("link", "model")] == [{"from": before}]
    assert changes.of("fetch", "model") == []


def test_a_model_for_two_new_instances_is_fetched_once():
    wanted = plan(model("tiny"))
    wanted["instances"] += plan(model("tiny"), name="gpu1", port=11435)["instances"]
    state = host(stores={})
    assert [change[:2] for change in brought(wanted, state)] == [("fetch", ""), ("link", "gpu0"), ("link", "gpu1")]


def test_where_a_store_is_not_known_no_download_is_promised():
    wanted = plan(model("tiny"))
    unreadable = dict(store(), models=None)
    (kind, unused, reason), _linked = brought(wanted, stale_host(wanted, {OWN: unreadable}), STOPPED)
    assert kind == "fetch" and "what it has is not known" in reason and "copied where one has it" in reason
    (kind, unused, reason), _linked = brought(wanted, stale_host(wanted, {OWN: store(), STALE: unreadable}), STOPPED)
    assert reason.startswith("The store of gpu0 does not have it. What all stores on the host hold is not known")


def test_what_a_server_says_goes_before_what_its_store_was_read_to_hold():
    wanted = plan(model("tiny"))
    state = applied_host(wanted, stores={OWN: store("tiny:latest")})
    assert held_models(wanted, state, {"gpu0": server("other:latest")}).of(OWN)[0]["name"] == "other:latest"
    assert held_models(wanted, state, {}).of(OWN + "/")[0]["name"] == "tiny:latest"
    assert held_models(wanted, {}, {}).of(OWN) is None
