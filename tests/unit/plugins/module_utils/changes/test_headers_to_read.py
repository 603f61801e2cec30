# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models that a host has in another form than the registry offers are planned from what the host has."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.headers_to_read import headers_to_read

from tests.unit.plugins.module_utils.changes.builders import entry, host, model, plan

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
TRUE, LIE = [{"header_bytes": 10, "header_sha256": "true"}], [{"header_bytes": 10, "header_sha256": "lie"}]
OWN, ADOPTED = "/models/instances/gpu0", "/old/models"


def store(digest=OLD, name="tiny:latest", **more):
    return dict({"same_file_system": True, "models": [{"name": name, "digest": digest}], "problems": []}, **more)


def with_stores(applied=None, **stores):
    paths = {"own": OWN, "adopted": ADOPTED}
    return host(
        stores={paths[name]: content for name, content in stores.items()},
        instances=[entry("gpu0")] if "own" in stores else [],
        applied_plan=applied or {},
    )


def read(there, digest=NEW, headers=None, **wanted):
    offered = [{"name": "tiny:latest", "digest": digest, "headers": headers or TRUE}]
    return headers_to_read(offered, [dict(wanted, name="tiny")], there, "/models")


def test_a_tag_that_moved_is_read_where_the_host_has_the_model():
    assert read(with_stores(own=store())) == [{"name": "tiny", "store": OWN}]
    assert read(with_stores(adopted=store())) == [{"name": "tiny", "store": ADOPTED}]
    assert read(with_stores(adopted=store(), own=store())) == [{"name": "tiny", "store": OWN}]
    assert read(with_stores(own=store()), digest=OLD) == []
    assert read(with_stores(own=store(name="other:latest"))) == []
    assert read(with_stores()) == []


def test_a_pin_decides_which_model_on_the_host_counts():
    both = with_stores(adopted=store(OLD), own=store(NEW))
    assert read(both, digest=NEW, **{}) == []
    pinned = headers_to_read(
        [{"name": "tiny:latest", "digest": NEW, "headers": TRUE}], [{"name": "tiny", "digest": OLD}], both, "/models"
    )
    assert pinned == [{"name": "tiny", "store": ADOPTED}]
    assert read(with_stores(own=store(OLD)), **{"digest": NEW}) == [{"name": "tiny", "store": OWN}]


@pytest.mark.parametrize(
    "general, own, refreshed",
    [
        (True, None, True),
        ("yes", None, True),
        (False, True, True),
        (False, "true", True),
        (True, False, False),
        (True, "no", False),
        (False, None, False),
    ],
)
def test_a_tag_that_moved_is_planned_from_the_registry_where_it_is_refreshed(general, own, refreshed):
    def found(wanted, registry=NEW, headers=None):
        offered = [{"name": "tiny:latest", "digest": registry, "headers": headers or TRUE}]
        applied = plan(model("tiny", planned_digest=OLD, headers=TRUE))
        return headers_to_read(offered, [wanted], with_stores(applied, own=store()), "/models", general)

    wanted = {"name": "tiny"} if own is None else {"name": "tiny", "refresh": own}
    here = [{"name": "tiny", "store": OWN}]
    assert found(wanted) == ([] if refreshed else here)
    # A pin stays, and a registry that lies about the header is not believed.
    assert found(dict(wanted, digest=OLD)) == here
    assert found(wanted, registry=OLD, headers=LIE) == here


def test_a_registry_that_serves_another_header_than_the_file_has_is_not_believed():
    """What was compared with the file before it was loaded is in the applied plan."""
    applied = plan(model("tiny", planned_digest=OLD, headers=TRUE))
    there = with_stores(applied, own=store())
    assert read(there, digest=OLD, headers=TRUE) == []
    assert read(there, digest=OLD, headers=LIE) == [{"name": "tiny", "store": OWN}]
    elsewhere = with_stores(plan(model("tiny", planned_digest=NEW, headers=TRUE)), own=store())
    assert read(elsewhere, digest=OLD, headers=LIE) == []  # nothing is known of it; it is compared before it is loaded


@pytest.mark.parametrize(
    "there",
    [
        with_stores(own=store(problems=["a link"])),
        with_stores(own=store(models=None)),
        with_stores(own=store(digest=None)),
        with_stores(own=store(digest="x")),
        with_stores({"instances": 7}, own=store(NEW)),
        with_stores({"instances": [{"models": [{"name": "../x"}]}]}, own=store(NEW)),
    ],
)
def test_what_cannot_be_used_is_left_out(there):
    assert read(there) == []


def test_a_name_that_was_given_to_another_model_counts_as_it_was_pulled():
    def given(pulled):
        there = store(digest="sha256:" + "3" * 64)
        there["models"][0]["pulled_digest"] = pulled
        return with_stores(own=there)

    assert read(given(NEW)) == [] and read(given(OLD)) == [{"name": "tiny", "store": OWN}]
    assert read(given(None)) == []  # it is fetched


def test_a_model_that_no_registry_has_is_read_on_the_host():
    made = [{"name": "tiny"}]
    for there in (with_stores(own=store()), with_stores(adopted=store())):
        (found,) = headers_to_read([], made, there, "/models")
        assert found["name"] == "tiny" and found["store"] in (OWN, ADOPTED)
    assert headers_to_read([], made, with_stores(), "/models") == []
    # One that is pinned to another digest than the host has is nowhere.
    assert headers_to_read([], [{"name": "tiny", "digest": NEW}], with_stores(own=store()), "/models") == []


def test_the_header_of_a_draft_is_known_from_the_applied_plan():
    def applied(headers):
        return plan(model("other", draft={"name": "tiny", "planned_digest": NEW, "headers": headers}))

    assert read(with_stores(applied(TRUE), own=store(NEW)), headers=LIE) == [{"name": "tiny", "store": OWN}]
    assert read(with_stores(applied(TRUE), own=store(NEW)), headers=TRUE) == []
