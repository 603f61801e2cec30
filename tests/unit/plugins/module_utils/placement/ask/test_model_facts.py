# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a model that cannot be are refused; those of every recorded model are enough."""

from __future__ import annotations

import pytest

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, plan, refused, wanted


@pytest.mark.parametrize(
    "change, words",
    [
        ({"block_count": "48"}, ["block_count '48'"]),
        ({"block_count": -1}, ["block_count -1"]),
        ({"block_count": 10**9}, ["48 layers", "1000000000"]),
        ({"layers": []}, ["does not contain layers"]),
        ({"layers": [{"index": 0}] * 48}, ["Layer 0", "weight_bytes"]),
        ({"layers": ["x"] * 48}, ["Layer 0"]),
        ({"layers": "x"}, ["no list of layers"]),
        ({"context_length": 0}, ["context_length 0"]),
        ({"vocab_size": 1.5}, ["vocab_size 1.5"]),
        ({"vocab_size": None}, ["does not contain vocab_size"]),
        ({"file_bytes": 0, "size_bytes": 0}, ["0 bytes"]),
        ({"head_count": ["x"] * 48}, ["head_count ['x'"]),
        ({"head_count_kv": [None] * 48}, ["head_count_kv [None"]),
        ({"architecture": ["llama"]}, ["architecture ['llama']"]),
        ({"parameters": [5]}, ["parameters [5]", "no dictionary"]),
        ({"parameters": {5: 5}}, ["parameters {5: 5}"]),
        ({"adapters": "x"}, ["the adapter 'x'"]),
        ({"adapters": [{"layer_bytes": {"x": 1}}]}, ["the adapter {'layer_bytes'"]),
        ({"adapters": [{"layer_bytes": {"0": -1}}]}, ["no bytes by layer"]),
        ({"adapters": [{"layer_bytes": {"0": 1}, "other_bytes": -1}]}, ["adapters[].other_bytes -1"]),
        ({"draft": "x"}, ["the draft model 'x'"]),
        ({"draft": {"draft": {"block_count": 1}}}, ["the draft model", "which is none"]),
        ({"draft": {"block_count": -1}}, ["the draft model of", "block_count -1"]),
        ({"capabilities": 5}, ["capabilities 5"]),
        ({"head_count_kv": -8}, ["head_count_kv -8"]),
        (
            {"block_count": 1025, "layers": [{"index": 0, "weight_bytes": 1}] * 1025},
            ["block_count 1025", "no model has more than 1024"],
        ),
        ({"expert_count": 2**40}, ["expert_count 1099511627776", "no model has more than 1024"]),
        ({"head_count": 2**62}, ["head_count 4611686018427387904", "no model has more than 65536 heads"]),
        ({"head_count_kv": [8] * 47 + [65537]}, ["head_count_kv [8", "no model has more than 65536 heads"]),
        (
            {"layers": [{"index": index, "weight_bytes": 0} for index in range(48)]},
            ["None of the 48 layers", "weights"],
        ),
        ({"projector_bytes": "1 GB"}, ["projector_bytes '1 GB'"]),
        ({"sliding_window": "x"}, ["sliding_window 'x'"]),
    ],
)
def test_facts_of_a_model_that_cannot_be(change, words):
    message = refused({"model": dict(models.model("llama4-scout"), **change)})
    for word in words:
        assert word in message


def test_a_model_without_attention_passes():
    facts = dict(
        models.model("llama3.1-8b"),
        architecture="mamba",
        head_count=0,
        head_count_kv=0,
        key_length=None,
        value_length=None,
    )
    for version in ("0.32.15", "0.24.0", "0.11.4"):
        assert make_plan(TWO_A6000, [{"name": "mamba", "model": facts}], version)["feasible"]


def test_the_facts_of_every_model_are_enough_for_a_plan_of_any_release():
    for version in ("0.11.4", "0.24.0", "0.32.15"):
        for name in models.names()[:6]:
            assert plan(
                hosts.inventory(*[hosts.A6000] * 2),
                wanted(name, context_length=4096, allow_cpu_offload=True),
                ollama_version=version,
            )["feasible"]
