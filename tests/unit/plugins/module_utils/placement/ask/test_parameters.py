# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parameters of a Modelfile: wrong ones are refused in one sentence."""

from __future__ import annotations

import pytest

from tests.oracle import models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, refused


@pytest.mark.parametrize("where", ["parameters", "optimized"])
@pytest.mark.parametrize("layers", [1, 2, 48, "2"])
def test_num_gpu_is_explained_as_layers(where, layers):
    parameters = {"num_gpu": layers}
    message = refused(
        {"parameters": parameters} if where == "parameters" else {"optimized": {"parameters": parameters}}
    )
    assert "number of layers, not of GPUs" in message and "49 layers" in message and "allow_cpu_offload" in message


def test_num_gpu_below_all_layers_needs_cpu_offload_and_then_passes():
    entry = {
        "name": "llama4:16x17b",
        "model": models.model("llama4-scout"),
        "parameters": {"num_gpu": 20},
        "allow_cpu_offload": True,
    }
    model = make_plan(TWO_A6000, [entry], "0.32.15")["instances"][0]["models"][0]
    assert model["parameters"]["num_gpu"] == 20
    # What the engine will do with it is what is predicted, and what verification expects.
    assert (model["predicted"]["gpu_layers"], model["predicted"]["fully_on_gpu"], model["expected"]["outcome"]) == (
        20,
        False,
        "partial",
    )
    assert (
        sum(device["layers"] for device in model["predicted"]["devices"]) == 20
        and model["predicted"]["host_bytes"] > 30 * 1024**3
    )
    for layers in (49, 999, -1):
        entry = dict(entry, parameters={"num_gpu": layers}, allow_cpu_offload=False)
        assert make_plan(TWO_A6000, [entry], "0.32.15")["feasible"]


def test_numbers_may_be_given_as_text_as_templates_produce_them():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    as_text = dict(entry, parallel="2", headroom_bytes="2147483648", context_length=" 8192 ", insecure="no")
    numbers = dict(entry, parallel=2, headroom_bytes=2147483648, context_length=8192)
    assert make_plan(
        TWO_A6000, [as_text], "0.32.15", headroom_bytes="1073741824", base_port="11500", overhead_bytes="1000"
    ) == make_plan(TWO_A6000, [numbers], "0.32.15", base_port=11500, overhead_bytes=1000)
