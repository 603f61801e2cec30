# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From a model's header to the plan: the rig's files give the engine's recorded figures."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.oracle import hosts
from tests.rig.models import store as rig_models
from tests.unit.plugins.module_utils.placement.builders import make_plan

MIB = 1024 * 1024


@pytest.fixture(scope="module", name="facts")
def _facts(tmp_path_factory):
    directory = tmp_path_factory.mktemp("store")

    def read(name):
        rig_models.write_into_store(name, directory)
        return source.from_store(Store(str(directory)), name)[0]

    return read


def test_llama4_with_its_projector(facts):
    model = facts("llama4:16x17b")
    plan = make_plan(
        hosts.inventory(hosts.A6000, hosts.A6000),
        [{"name": model["name"], "model": model, "context_length": 32768}],
        "0.32.15",
    )
    devices = plan["instances"][0]["models"][0]["predicted"]["devices"]
    figures = [[device[key] // MIB for key in ("weight_bytes", "kv_bytes", "compute_bytes")] for device in devices]
    assert figures == [[31659, 1452, 764], [30105, 1380, 664]]
    assert [device["projector_bytes"] for device in devices] == [model["projector_bytes"], 0] and model[
        "projector_bytes"
    ] > 1000 * MIB


def test_llama31_replicated(facts):
    model = facts("llama3.1:8b")
    plan = make_plan(
        hosts.inventory(hosts.RTX4090, hosts.RTX4090), [{"name": model["name"], "model": model}], "0.32.15"
    )
    for instance in plan["instances"]:
        device = instance["models"][0]["predicted"]["devices"][0]
        assert [device[key] // MIB for key in ("weight_bytes", "kv_bytes")] == [4403, 1024]
    assert [instance["name"] for instance in plan["instances"]] == ["gpu0", "gpu1"]
