# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Figures of an engine that expects more than was predicted, and what they make of the plan."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.measure_plan import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.unit.plugins.module_utils.measure.builders import MIB, TABLE, inventory, plan_of, program
from tests.unit.plugins.module_utils.placement.builders import make_plan


def test_an_engine_that_expects_more(store, rig, tmp_path):
    plan = plan_of(store, "llama4:16x17b", context_length=32768)
    result = measure_plan(plan, inventory(), program(tmp_path / "more", TABLE % (40000, 39000)))
    assert result["feasible"] and any(
        "expects llama4:16x17b to take" in warning and "than predicted" in warning for warning in result["warnings"]
    )
    result = measure_plan(plan, inventory(), program(tmp_path / "much-more", TABLE % (60000, 59000)))
    report = result["models"][0]
    assert (
        not result["feasible"]
        and result["instances"] == []
        and plan["feasible"]
        and plan["models"][0]["shortfall_bytes"] is None
    )
    assert (
        "engine itself expects %d bytes" % report["shortfall_bytes"] in report["reason"]
        and report["remedies"]
        and report["shortfall_bytes"] > 1024 * MIB
    )


def test_models_on_one_gpu_are_counted_together(store, rig, tmp_path):
    models = [
        # Models of one digest would get an instance each.
        dict(name=name, model=dict(source.from_store(Store(store), "llama3.1:8b")[0], digest=None))
        for name in ("llama3.1:8b", "other:8b")
    ]
    plan = make_plan(inventory(), models, "0.32.15", selectors=["0"])
    plan["models_dir"] = store
    for instance in plan["instances"]:
        for model in instance["models"]:
            model["from"] = "llama3.1:8b"
    assert plan["feasible"] and len(plan["instances"]) == 1 and len(plan["instances"][0]["models"]) == 2
    each = TABLE.replace("echo '|   - CUDA1 (A) | 49140 = 48000 + (%s = %s +     500 +     500) +         0 |'\n", "")
    assert measure_plan(plan, inventory(), program(tmp_path / "half", each.replace("39000", "20000")))["feasible"]
    result = measure_plan(plan, inventory(), program(tmp_path / "more", each.replace("39000", "29000")))
    assert not result["feasible"] and all("engine itself" in report["reason"] for report in result["models"])
