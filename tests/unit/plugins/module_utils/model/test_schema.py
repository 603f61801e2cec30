# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The shape of a model's facts."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Adapter, Layer, ModelFacts

from tests.oracle import models, table


def test_what_is_no_fact_is_left_out():
    facts = ModelFacts.of({"architecture": "llama", "modelfile": "FROM x", "layers": [{"weight_bytes": 5, "more": 1}]})
    assert facts.architecture == "llama" and facts.layers == [Layer(weight_bytes=5)]


def test_experts_that_are_not_there_have_no_bytes():
    assert Layer.of({"weight_bytes": 5, "expert_bytes": None}).expert_bytes == 0


def test_facts_go_out_as_they_came_in():
    for model in (models.model("llama4-scout"), table.model("qwen3-30b-a3b")):
        out = dataclasses.asdict(ModelFacts.of(model))
        assert {key: out[key] for key in model if key in out and key != "layers"} == {
            key: value for key, value in model.items() if key in out and key != "layers"
        }
        assert [{key: layer[key] for key in before} for layer, before in zip(out["layers"], model["layers"])] == list(
            model["layers"]
        )


ADAPTER = {
    "digest": "sha256:" + "a" * 64,
    "size_bytes": 999,
    "layer_bytes": {"0": 100, "11": 200},
    "other_bytes": 7,
    "embedding_bytes": 3,
    "rank": 16,
}


def test_the_layers_of_an_adapter_are_numbers_again_after_json():
    facts = ModelFacts.of({"architecture": "llama", "adapters": [dict(ADAPTER, more=1)]})
    assert facts.adapters == [Adapter("sha256:" + "a" * 64, 999, {0: 100, 11: 200}, 7, 3, 16)]


def test_facts_have_shapes_inside_whatever_they_were_made_of():
    facts = ModelFacts.of(
        {"architecture": "llama", "draft": {"architecture": "dflash", "layers": [{"weight_bytes": 5}], "more": 1}}
    )
    assert facts.draft == ModelFacts(architecture="dflash", layers=[Layer(weight_bytes=5)])
    assert ModelFacts.of(vars(facts)) == facts


def test_a_model_without_an_adapter_or_parameters_says_so():
    for entry in ({}, {"adapters": None, "draft": None, "parameters": None}):
        facts = ModelFacts.of(entry)
        assert (facts.adapters, facts.draft, facts.parameters) == ([], None, None)
