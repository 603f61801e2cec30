# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models of instances that a plan wants, in an order that works."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.wanted_models import wanted_models

from tests.unit.plugins.module_utils.changes.builders import model, plan

OPTIMIZED = "tiny:latest-optimized"
DRAFT = {"name": "heads", "planned_digest": "sha256:" + "b" * 64, "headers": [{"header_bytes": 7}]}


def test_what_the_plan_was_made_from_goes_along():
    headers = [{"header_bytes": 1, "header_sha256": "a"}]
    planned = {"planned_digest": "sha256:" + "a" * 64, "headers": headers}
    pulled, created, named = wanted_models(plan(model("tiny", OPTIMIZED, **planned)), [])
    assert (pulled.planned_digest, pulled.headers, pulled.digest) == (planned["planned_digest"], headers, "")
    assert (created.planned_digest, created.headers) == (planned["planned_digest"], None)
    assert (named.name, named.same_as, named.planned_digest) == ("tiny:latest", OPTIMIZED, None)


def test_a_name_that_two_models_share_is_that_of_the_first():
    wanted = plan(model("tiny", OPTIMIZED), model("tiny", "tiny:latest-b"))
    states = wanted_models(wanted, [])
    assert [(state.name, state.same_as) for state in states if state.same_as] == [("tiny:latest", OPTIMIZED)]
    # A name that is the optimized one of another model stays that.
    wanted = plan(model("tiny:latest-b", "tiny:latest-b-optimized"), model("tiny", "tiny:latest-b"))
    states = wanted_models(wanted, [])
    assert [(state.name, state.same_as) for state in states if state.same_as] == [("tiny:latest", "tiny:latest-b")]


def test_a_draft_that_is_served_itself_keeps_its_name():
    wanted = plan(model("tiny", OPTIMIZED, draft=DRAFT), model("heads", "heads:latest-optimized"))
    states = wanted_models(wanted, [])
    assert [(state.name, state.same_as) for state in states if state.same_as] == [
        ("tiny:latest", OPTIMIZED),
        ("heads:latest", "heads:latest-optimized"),
    ]
    assert [state.name for state in states].count("heads") == 1


def test_a_model_of_the_users_own_comes_from_its_file():
    source = {"kind": "file", "where": "/m.gguf", "sha256": "a" * 64}
    pulled, created, *_further = wanted_models(plan(model("tiny", OPTIMIZED, source=source)), [])
    assert pulled.file == created.file == source
