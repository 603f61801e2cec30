# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""draft-parameter.json and others of its kind: tokens that are proposed take memory, and the plan counts it."""

from __future__ import annotations

import copy
import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import hosts, table
from tests.unit.plugins.module_utils.placement.builders import GIB, make_plan

CASE = json.loads(
    (pathlib.Path(__file__).resolve().parents[4] / "fixtures" / "cases" / "draft-parameter.json").read_text()
)
MIB = 1024 * 1024


def case(parameters, version="0.32.15", **facts):
    args = copy.deepcopy(CASE["args"])
    entry = args["models"][0]
    entry["optimized"] = {"parameters": parameters}
    entry["model"].update(facts)
    return make_plan(args["gpu_inventory"], args["models"], version)


def planned(name, draft=None, version="0.32.15", gpus=((49140, 48600),), **settings):
    facts = dict(table.model(name), draft=table.model(draft) if draft else None)
    own = settings.pop("own", None)
    if own:
        facts["parameters"] = own
    return make_plan(hosts.inventory(*gpus), [dict({"name": "m", "model": facts}, **settings)], version)


def model_of(plan):
    return plan["instances"][0]["models"][0]


def device_of(plan):
    return model_of(plan)["predicted"]["devices"][0]


def test_the_case_takes_more_bytes_than_without_the_parameter():
    with_heads, without = device_of(case({"draft_num_predict": 4})), device_of(case({}))
    assert with_heads["draft_bytes"] >= 200_000_000 and without["draft_bytes"] == 0  # block 4 alone has that many
    assert with_heads["total_bytes"] >= without["total_bytes"] + with_heads["draft_bytes"]
    assert device_of(case({"draft_num_predict": 0}))["total_bytes"] == without["total_bytes"]


def test_without_heads_it_has_no_effect_and_the_plan_says_so():
    plan = case({"draft_num_predict": 4}, hyperparameters={})
    assert device_of(plan)["total_bytes"] == device_of(case({}, hyperparameters={}))["total_bytes"]
    assert any("draft_num_predict 4 of m has no effect: it has neither heads" in note for note in plan["warnings"])


def test_a_release_without_speculative_decoding_says_so():
    plan = planned("llama3.1-8b", version="0.20.0", parameters={"draft_num_predict": 4})
    assert device_of(plan)["draft_bytes"] == 0
    assert any("no effect" in note for note in plan["warnings"])


def test_the_heads_of_a_27b_take_about_two_gib():
    asked = planned("qwen3.5-27b-mtp", speculative={"type": "mtp", "tokens": 4}, parallel=2)
    plain = planned("qwen3.5-27b-mtp", parallel=2)
    assert 1 * GIB < device_of(asked)["total_bytes"] - device_of(plain)["total_bytes"] < 3 * GIB
    assert model_of(asked)["parameters"]["draft_num_predict"] == 4
    assert model_of(asked)["speculation"] == {"type": "draft-mtp", "tokens": 4, "draft": False}
    assert model_of(plain)["speculation"] is None and "draft_num_predict" not in model_of(plain)["parameters"]


def test_the_parameter_of_the_model_itself_counts_and_can_be_switched_off():
    own = planned("qwen3.5-27b-mtp", own={"draft_num_predict": 4})
    asked = planned("qwen3.5-27b-mtp", speculative={"type": "mtp"})
    off = planned("qwen3.5-27b-mtp", own={"draft_num_predict": 4}, speculative={"type": "none"})
    assert device_of(own) == device_of(asked)
    assert device_of(off)["draft_bytes"] == 0
    assert model_of(off)["parameters"]["draft_num_predict"] == 0


def test_a_draft_layer_proposes_four_tokens_unless_something_else_is_set():
    plan = planned("qwen3.5-27b", draft="qwen3.5-27b-mtp")
    draft = table.model("qwen3.5-27b-mtp")
    assert device_of(plan)["draft_bytes"] > draft["file_bytes"] - draft["embedding_bytes"]
    assert model_of(plan)["speculation"] == {"type": "draft-mtp", "tokens": 4, "draft": True}
    assert device_of(planned("qwen3.5-27b", draft="qwen3.5-27b-mtp", speculative={"type": "none"}))["draft_bytes"] == 0
    asked = planned("qwen3.5-27b", draft="qwen3.5-27b-mtp", speculative={"type": "draft", "tokens": 8})
    assert model_of(asked)["parameters"]["draft_num_predict"] == 8
    assert device_of(asked)["kv_bytes"] > device_of(plan)["kv_bytes"]


def test_a_draft_without_heads_is_counted_and_the_plan_says_that_the_engine_may_end():
    plan = planned("llama3.1-8b", draft="llama3.2-1b")
    assert device_of(plan)["draft_bytes"] > 1 * GIB
    assert any("failed to create MTP context" in note for note in plan["warnings"])


def test_a_draft_counts_against_the_gpu():
    tight = ((24564, 17800),)
    assert planned("qwen3.5-27b-mtp", gpus=tight)["feasible"]
    too_much = planned("qwen3.5-27b-mtp", gpus=tight, speculative={"type": "mtp", "tokens": 16})
    assert not too_much["feasible"]
    assert any(remedy.startswith("speculative: {type: none}") for remedy in too_much["models"][0]["remedies"])


def test_the_layers_of_several_gpus_leave_room_for_the_draft():
    gpus = ((24564, 24100), (24564, 24100))
    plan = planned("qwen3.5-27b-mtp", gpus=gpus, strategy="spread", speculative={"type": "mtp", "tokens": 4})
    first, second = model_of(plan)["predicted"]["devices"]
    assert first["draft_bytes"] == 0 and second["draft_bytes"] > 0
    assert all(device["total_bytes"] <= device["room_bytes"] for device in (first, second))


def test_heads_with_names_of_older_files_are_said_not_to_be_predicted():
    facts = table.model("qwen3.5-27b")
    facts = dict(facts, other_sizes=dict(facts["other_sizes"] or {}, **{"mtp.fc.weight": 1}))
    entry = {"name": "m", "model": facts, "speculative": {"type": "mtp"}}
    plan = make_plan(hosts.inventory((49140, 48600)), [entry], "0.32.15")
    assert any("is not predicted" in note for note in plan["warnings"])
    assert model_of(plan)["speculation"]["type"] == "draft-mtp"


@pytest.mark.parametrize(
    "name, settings, said",
    [
        ("llama3.1-8b", {"speculative": {"type": "mtp"}}, "no heads that predict further tokens"),
        ("qwen3.5-27b-mtp", {"speculative": {"type": "draft"}}, "manifest has no draft model"),
        ("qwen3.5-27b-mtp", {"speculative": {"type": "eagle"}}, "speculative.type 'eagle' of m is unknown; use one of"),
        ("qwen3.5-27b-mtp", {"speculative": {"type": "mtp", "tokens": 0}}, "at least 1"),
        ("qwen3.5-27b-mtp", {"speculative": {"type": "mtp", "tokens": "many"}}, "not a whole number"),
        ("qwen3.5-27b-mtp", {"speculative": {"tokens": 4}}, "tokens and no type"),
        ("qwen3.5-27b-mtp", {"speculative": {"type": "none", "tokens": 4}}, "leave one of them out"),
        ("qwen3.5-27b-mtp", {"speculative": {"typ": "mtp"}}, "unknown key 'typ'"),
        ("qwen3.5-27b-mtp", {"speculative": "mtp"}, "is not a dictionary"),
        (
            "qwen3.5-27b-mtp",
            {"speculative": {"type": "mtp", "tokens": 4}, "parameters": {"draft_num_predict": 2}},
            "the same setting",
        ),
        ("qwen3.5-27b-mtp", {"speculative": {"type": "mtp"}, "version": "0.20.0"}, "has no speculative decoding"),
    ],
)
def test_what_cannot_be_is_refused(name, settings, said):
    with pytest.raises(PlacementError, match=said):
        planned(name, **settings)


def test_heads_that_no_engine_runs_are_refused_where_they_are_asked_for():
    """llama has no `graph_mtp` in llama.cpp of build 11669; a newer release may have one."""
    facts = dict(table.model("qwen3.5-27b-mtp"), architecture="llama")
    entry = {"name": "m", "model": facts, "speculative": {"type": "mtp"}}
    gpus = hosts.inventory((49140, 48600), (49140, 48600))
    with pytest.raises(PlacementError, match="runs no heads of the architecture llama.*leave speculative out"):
        make_plan(gpus, [entry], "0.32.15")
    assert any("it ends with an error" in note for note in make_plan(gpus, [entry], "0.35.1")["warnings"])


def test_a_draft_model_that_the_engine_does_not_have_is_refused():
    """dflash came with llama.cpp of Ollama 0.30.9 (releases/limits.py)."""
    facts = dict(table.model("llama3.1-8b"), draft=dict(table.model("qwen3.5-27b-mtp"), architecture="dflash"))

    def made(version, **settings):
        entry = dict({"name": "m", "model": facts}, **settings)
        return make_plan(hosts.inventory((49140, 48600), (49140, 48600)), [entry], version)

    with pytest.raises(PlacementError, match="m cannot be planned with its draft model.*'dflash'.*speculative: {type"):
        made("0.30.8")
    assert made("0.30.9")["feasible"] and made("0.24.0")["feasible"]
    assert made("0.30.8", speculative={"type": "none"})["feasible"]
