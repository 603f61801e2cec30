# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The shape of a model's facts."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Layer, ModelFacts

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
