# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The rows of manifest-layers.json: what a model's manifest has beside the model acts on its plan."""

from __future__ import annotations

import json
import pathlib

from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source

from tests.oracle import hosts
from tests.unit.plugins import model_layers as layers
from tests.unit.plugins.module_utils.placement.builders import GIB, make_plan

CASE = json.loads(
    (pathlib.Path(__file__).resolve().parents[4] / "fixtures" / "cases" / "manifest-layers.json").read_text()
)
#: gemma3:4b, a file of some 2.4 GiB.
FILE = {"blocks": 34, "width": 2560, "heads": 8, "inner": 10240}
PARAMETERS = {23: b'{"draft_num_predict":4}', 14: b'{"main_gpu":1}', 18: b'{"num_batch":8192}'}


def planned(directory, row, **settings):
    """The plan of a row: gemma3:12b with these layers beside it, on two GPUs with 12,000 MiB free."""
    given = [layers.gemma3()]
    for media_type, what in row:
        kind = media_type.rpartition(".")[2]
        if kind == "params":
            assert len(PARAMETERS[what]) == what
            given.append(("params", PARAMETERS[what], None))
        else:
            given.append(layers.gemma3(kind, **FILE))
    facts = source.from_store(layers.in_store(directory, *given), "m")[0]
    gpu = (12288, 12000)
    entry = {"name": "m", "model": facts, "strategy": "spread", "context_length": 8192}
    return make_plan(hosts.inventory(gpu, gpu), [dict(entry, **settings)], "0.32.15")


def row(*kinds):
    """The layers of the row of the case with these kinds of layers; of parameters the bytes."""
    for one in CASE["rows"]:
        found = one["layers besides model"]
        if [what if media_type.endswith("params") else media_type.rpartition(".")[2] for media_type, what in found] == [
            *kinds
        ]:
            return found
    raise KeyError(kinds)


def model_of(plan):
    return plan["instances"][0]["models"][0]


def total_bytes(plan):
    return sum(device["total_bytes"] for device in model_of(plan)["predicted"]["devices"])


def test_the_model_alone(tmp_path):
    plan = planned(tmp_path, row())
    assert plan["feasible"] and model_of(plan)["parameters"] == {"num_ctx": 8192, "num_gpu": 999}
    assert 9 * GIB < total_bytes(plan) < 12 * GIB


def test_a_main_gpu_is_overridden(tmp_path):
    plan = planned(tmp_path, row(14))
    assert plan["feasible"]
    assert model_of(plan)["parameters"] == {"num_ctx": 8192, "num_gpu": 999, "main_gpu": None}
    assert len(model_of(plan)["predicted"]["devices"]) == 2
    assert any("main_gpu 1 of its own" in warning for warning in plan["warnings"])


def test_a_batch_counts_as_the_user_s(tmp_path):
    plan = planned(tmp_path, row(18))
    alike = planned(tmp_path, row(), ubatch=8192)
    assert plan["feasible"] == alike["feasible"]
    assert plan["models"][0]["shortfall_bytes"] == alike["models"][0]["shortfall_bytes"]
    if plan["feasible"]:
        assert model_of(plan)["parameters"]["num_batch"] == 8192
        assert model_of(plan)["predicted"] == model_of(alike)["predicted"]
    assert any("num_batch 8192 of its own" in warning for warning in plan["warnings"])


def test_an_adapter_takes_its_bytes_on_the_gpus(tmp_path):
    alone, plan = planned(tmp_path / "alone", row()), planned(tmp_path / "other", row("adapter"))
    devices = model_of(plan)["predicted"]["devices"] if plan["feasible"] else []
    assert total_bytes(plan) >= total_bytes(alone) + 2.3 * GIB
    assert all(device["adapter_bytes"] > 0.8 * GIB for device in devices)


def test_a_draft_takes_its_weights_its_cache_and_its_compute_buffer(tmp_path):
    alone, plan = planned(tmp_path / "alone", row()), planned(tmp_path / "other", row("draft", 23))
    assert total_bytes(plan) >= total_bytes(alone) + 2.32 * GIB
    assert sum(device["draft_bytes"] for device in model_of(plan)["predicted"]["devices"]) >= 2.32 * GIB
    assert model_of(plan)["speculation"]["tokens"] == 4
