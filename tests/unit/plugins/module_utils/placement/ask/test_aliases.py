# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Aliases: what they may be, and what they may not name twice."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.aliases import aliases_of, check_aliases
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, refused


def entry(name, *aliases, **more):
    return dict({"name": name, "aliases": list(aliases)}, **more)


def test_an_alias_is_named_as_the_server_does_and_once():
    assert aliases_of(entry("a", "chat", "chat:latest", "Code:1", "library/CHAT")) == ("chat:latest", "Code:1")
    assert aliases_of({"name": "a"}) == aliases_of({"name": "a", "aliases": None}) == ()
    # Names that the model has anyway.
    assert aliases_of(entry("a", "A:latest", "a:latest-optimized")) == ()
    assert aliases_of(entry("a", "a:latest-optimized", optimized={"suffix": "-x"})) == ("a:latest-optimized",)


@pytest.mark.parametrize("aliases", [["../x"], [""], [None], [3], ["a b"], "chat", {"a": 1}, ["a@sha256:1"]])
def test_what_is_no_alias(aliases):
    with pytest.raises(PlacementError, match="aliases of a"):
        aliases_of({"name": "a", "aliases": aliases})


@pytest.mark.parametrize(
    "models, words",
    [
        ([entry("a", "chat"), entry("b", "Chat:latest")], "Chat:latest is an alias of a:latest-optimized and of b"),
        (
            [entry("a", "chat"), entry("a", "chat", optimized={"suffix": "-x"})],
            "of a:latest-optimized and of a:latest-x",
        ),
        ([entry("a", "b"), entry("b")], "b:latest of a is a name of the model b"),
        ([entry("b"), entry("a", "b:latest-optimized")], "b:latest-optimized of a is a name of the model b"),
        ([entry("a", "a:latest-x"), entry("a", optimized={"suffix": "-x"})], "is a name of the model a"),
    ],
)
def test_an_alias_names_one_model(models, words):
    with pytest.raises(PlacementError, match=words):
        check_aliases(models)


def test_models_with_aliases_of_their_own_pass():
    check_aliases([entry("a", "chat", "chat"), entry("b", "code"), {"name": "c", "optimized": None}])


def test_the_plan_has_them_on_every_instance():
    model = {"name": "llama3", "model": models.model("llama3.1-8b"), "aliases": ["chat"]}
    plan = make_plan(TWO_A6000, [model], "0.32.15")
    assert [one["models"][0]["aliases"] for one in plan["instances"]] == [["chat:latest"]] * 2
    assert "chat:latest is an alias" in refused(
        models=[model, dict(model, name="other/llama3", model=models.model("llama3.1-8b"))]
    )
