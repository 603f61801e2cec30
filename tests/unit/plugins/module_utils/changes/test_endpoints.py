# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What clients need to know of a plan."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import plan_endpoints

from tests.unit.plugins.module_utils.changes.builders import model, plan


def test_endpoints_tell_the_model_of_an_alias():
    one = model(create_as="x:y-optimized", aliases=["chat", "code:1"])
    assert plan_endpoints(plan(one))["endpoints"][0]["aliases"] == {
        "chat:latest": "x:y-optimized",
        "code:1": "x:y-optimized",
    }


def test_endpoints_name_the_models_as_clients_do():
    found = plan_endpoints(plan(model(create_as="x:y-optimized"), model("tiny")))
    assert found["ollama_version"] == "0.32.15"
    assert found["endpoints"] == [
        {
            "instance": "gpu0",
            "url": "http://127.0.0.1:11434",
            "address": "127.0.0.1",
            "port": 11434,
            "gpu_uuids": ["GPU-a"],
            "models": ["x:y-optimized", "tiny:latest"],
            "aliases": {},
        }
    ]
