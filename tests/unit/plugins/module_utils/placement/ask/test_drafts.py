# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Draft models that the user names."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.drafts import draft_name, models_to_read
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.headers import with_headers
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import hosts, table
from tests.unit.plugins.module_utils.placement.builders import make_plan

DIGEST = "sha256:" + "d" * 64
HEADERS = [{"header_bytes": 7, "header_sha256": "a" * 64}]
HOST = hosts.inventory((81559, 81000))


def heads_alone(**changes):
    """A file of heads, as gemma4-assistant is one: all its blocks predict further tokens."""
    return dict(table.model("qwen3.5-27b-mtp"), name="heads:latest", digest=DIGEST, headers=HEADERS, **changes)


def entry(draft="heads", base="qwen3.5-27b", **more):
    return {
        "name": "m",
        "model": copy.deepcopy(table.model(base)),
        "speculative": dict({"type": "draft", "draft": draft}, **more),
    }


def planned(draft, version="0.32.15", **settings):
    return make_plan(HOST, with_headers([entry(**settings)], [draft]), version)


def test_a_named_draft_is_planned_like_that_of_a_manifest():
    plan = planned(heads_alone(), tokens=6)
    (model,) = plan["instances"][0]["models"]
    facts = dict(table.model("qwen3.5-27b"), draft=table.model("qwen3.5-27b-mtp"))
    own = make_plan(HOST, [{"name": "m", "model": facts, "speculative": {"type": "draft", "tokens": 6}}], "0.32.15")
    (same,) = own["instances"][0]["models"]
    assert model["predicted"] == same["predicted"] and model["predicted"]["devices"][0]["draft_bytes"] > 0
    assert model["speculation"] == {"type": "draft-mtp", "tokens": 6, "draft": True}
    assert model["draft"] == {"name": "heads", "planned_digest": DIGEST, "headers": HEADERS}
    assert same["draft"] is None


def test_a_draft_that_has_moved_in_the_registry_is_said():
    offered = dict(heads_alone(), source="registry", digest="sha256:" + "e" * 64)
    plan = make_plan(HOST, with_headers([entry()], [offered, heads_alone()]), "0.32.15")
    (said,) = plan["moved_tags"]
    assert said.startswith("heads on the host has the digest %s, and the registry now has sha256:eee" % DIGEST)
    assert "Set refresh: true of m to get" in said
    assert planned(heads_alone())["moved_tags"] == []


def test_of_the_named_model_only_its_file_counts():
    more = heads_alone(
        parameters={"num_gpu": 1}, adapters=[{"layer_bytes": {"0": 7}}], draft=table.model("llama3.2-1b")
    )
    assert planned(more)["instances"][0]["models"] == planned(heads_alone())["instances"][0]["models"]


def test_it_takes_the_place_of_the_draft_in_the_manifest():
    with_own = entry()
    with_own["model"]["draft"] = table.model("llama3.2-1b")
    (joined,) = with_headers([with_own], [heads_alone()])
    assert joined["model"]["draft"]["digest"] == DIGEST


@pytest.mark.parametrize(
    "draft, settings, said",
    [
        (dict(table.model("qwen3-0.6b"), name="heads:latest"), {}, "architecture is qwen3; Ollama starts no ordinary"),
        (heads_alone(), {"version": "0.24.0"}, "has no speculative decoding"),
        (heads_alone(architecture="dflash"), {"version": "0.32.6"}, "started from Ollama 0.32.7 on"),
        (heads_alone(vocab_size=151936), {}, "has 151936 tokens and that of the model 248320"),
        (heads_alone(architecture="dflash", vocab_size=151936), {}, "has 151936 tokens and that of the model 248320"),
        (heads_alone(embedding_length=4096), {}, "states of 4096 values and the model has 5120"),
        (heads_alone(split_count=3), {}, "has 3 model files"),
        (heads_alone(projector_separate=True), {}, "has a projector"),
        (dict(heads_alone(), name="other"), {}, "no header of heads, the draft model of m"),
    ],
)
def test_what_the_release_would_not_start_is_refused(draft, settings, said):
    with pytest.raises(PlacementError, match=said):
        planned(draft, **settings)


@pytest.mark.parametrize("option", [{"type": "draft", "draft": "heads"}, {"type": "mtp"}])
def test_an_embedding_model_predicts_no_tokens(option):
    base = "qwen3.5-27b-mtp" if option["type"] == "mtp" else "qwen3.5-27b"
    embeds = entry(base=base)
    embeds["model"]["capabilities"], embeds["speculative"] = ["embedding"], option
    with pytest.raises(PlacementError, match="m cannot be: it is an embedding model, which predicts no tokens"):
        make_plan(HOST, with_headers([embeds], [heads_alone()]), "0.32.15")


@pytest.mark.parametrize(
    "name, other", [("m:latest-optimized", None), ("n:Latest-optimized", "n"), ("x:q4-fast", "x:q4")]
)
def test_a_draft_does_not_take_the_name_of_an_optimized_model(name, other):
    models = [entry(name)]
    if other:
        suffix = {"optimized": {"suffix": "-fast"}} if name.endswith("fast") else {}
        models.append(dict(entry(), name=other, speculative=None, **suffix))
    with pytest.raises(PlacementError, match="speculative.draft %s of m has the name of an optimized model" % name):
        make_plan(HOST, with_headers(models, [dict(heads_alone(), name=name)]), "0.32.15")


def test_a_draft_of_dflash_is_started_as_one():
    plan = planned(heads_alone(architecture="dflash"))
    assert plan["instances"][0]["models"][0]["speculation"]["type"] == "draft-dflash"


@pytest.mark.parametrize(
    "option, said",
    [
        ({"type": "mtp", "draft": "heads"}, "goes with type draft and not with mtp"),
        ({"draft": "heads"}, "goes with type draft and not with none"),
        ({"type": "draft", "draft": "../x"}, "speculative.draft of m: the model name"),
        ({"type": "draft", "draft": ["heads"]}, r"is \['heads'\], which is no text"),
        ({"type": "draft", "draft": 7}, "is 7, which is no text"),
        ({"type": "draft", "draft": "M:latest"}, "is the model itself"),
    ],
)
def test_an_option_that_cannot_be_is_refused(option, said):
    with pytest.raises(PlacementError, match=said):
        draft_name({"name": "m", "speculative": option})


def test_drafts_are_read_with_the_models():
    models = [
        dict(entry("heads"), insecure=True, refresh=False),
        dict(entry("Heads:latest"), name="n"),
        {"name": "served"},
        dict(entry("served:latest"), name="o"),
        {"name": "p", "speculative": {"type": "draft", "draft": None}},
    ]
    found = models_to_read(models)
    assert found[:5] == models and found[5:] == [{"name": "heads", "insecure": True, "refresh": False}]
