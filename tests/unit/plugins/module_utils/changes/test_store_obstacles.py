# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Stores that a run refuses, copies that do not fit, and what is fetched because it cannot be taken."""

from __future__ import annotations

from tests.unit.plugins.module_utils.changes.builders import applied_host, difference, host, model, plan, serving
from tests.unit.plugins.module_utils.changes.test_held_models import OWN, STOPPED, adopting, store
from tests.unit.plugins.module_utils.changes.test_module_result import asked

GIB = 1024**3


def test_what_is_refused_in_the_store_of_an_instance_is_an_obstacle():
    wanted = plan(model("tiny"))
    problems = ["%s/blobs is a symbolic link: remove it" % OWN, "%s/x is a FIFO: remove it" % OWN]
    stores = {OWN: dict(store("tiny:latest"), problems=problems)}
    found = difference(wanted, applied_host(wanted, stores=stores), STOPPED)
    assert found.obstacles == tuple("%s." % problem for problem in problems)


def test_what_cannot_be_taken_from_an_adopted_store_is_said_where_something_is_fetched():
    wanted, state = adopting("gpu0")
    note = "/old/models/blobs is a symbolic link"
    state["stores"]["/old/models"]["notes"] = [note]
    assert difference(wanted, state, adopt=True).notes == ()
    state["stores"]["/old/models"]["models"] = None
    found = difference(wanted, state, adopt=True)
    assert found.notes == ("What cannot be taken from the store /old/models is fetched: %s." % note,)
    assert found.obstacles == ()


def test_a_host_of_an_older_fact_has_none():
    wanted = plan(model("tiny"))
    assert difference(wanted, host()).obstacles == ()


def test_what_is_left_over_is_pruned_unless_something_is_brought_to_that_instance():
    wanted = plan(model("tiny"))
    leftovers = [{"name": "sha256-%s-partial" % ("a" * 64), "size_bytes": 2 * GIB}]
    state = applied_host(wanted, stores={OWN: dict(store("tiny:latest"), leftovers=leftovers)})
    (change,) = difference(wanted, state, serving(wanted)).of("prune", "leftovers")
    assert (change.what, change.instance) == (OWN, "gpu0")
    assert (
        change.reason == "No model uses 1 file (2.0 GiB) of a download that was given up or a model that was replaced."
    )
    assert change.details["paths"] == ["%s/blobs/%s" % (OWN, leftovers[0]["name"])]
    found = asked(host=state, plan=wanted, servers=serving(wanted))
    assert {"path": change.details["paths"][0], "state": "absent"} in found["work"]["prune_files"]
    assert {"path": OWN, "state": "absent"} not in found["work"]["prune_files"], "the store itself stays"
    assert not found["work"]["pending"]
    state["stores"][OWN]["models"] = []
    fetching = difference(wanted, state)
    assert fetching.of("fetch", "model") and not fetching.of("prune", "leftovers")


def test_the_store_of_the_fetch_server_is_emptied_once_the_instances_have_what_it_holds():
    wanted = plan(model("tiny"))
    for there, kinds in (
        (store("tiny:latest"), ["prune"]),
        (dict(store(), leftovers=[{"name": "sha256-x-partial", "size_bytes": 1}]), ["prune"]),
        (store(), []),
    ):
        state = applied_host(wanted, stores={OWN: store("tiny:latest"), "/models/fetch": there})
        found = difference(wanted, state, serving(wanted))
        assert [change.kind for change in found.changes] == kinds
    state = applied_host(wanted, stores={OWN: store(), "/models/fetch": store("tiny:latest")})
    found = difference(wanted, state, STOPPED)
    assert [change.details for change in found.of("link", "model")] == [{"from": "/models/fetch"}] and not found.fetched
    (change,) = found.of("prune", "store")
    assert change.details["paths"][:2] == ["/models/fetch/blobs", "/models/fetch/manifests"], "the key stays"


def test_blobs_are_kept_where_that_is_wanted_and_parts_of_them_are_not():
    wanted = plan(model("tiny"))
    whole, part = "sha256-" + "b" * 64, "sha256-%s-own" % ("a" * 64)
    leftovers = [{"name": name, "size_bytes": 1} for name in (whole, part)]
    state = applied_host(wanted, stores={OWN: dict(store("tiny:latest"), leftovers=leftovers)})
    (change,) = difference(wanted, state, serving(wanted), keep_blobs=True).of("prune", "leftovers")
    assert change.details["paths"] == ["%s/blobs/%s" % (OWN, part)]
    servers = serving(wanted)
    servers["gpu0"]["models"].append({"name": "old:1", "digest": "f" * 64})
    for keep in (True, False):
        models = difference(wanted, state, servers, keep_blobs=keep).models
        assert [(one.name, one.keep_blobs) for one in models if one.state == "absent"] == [("old:1", keep)]
        assert not [one for one in models if one.state == "present" and one.keep_blobs]
