# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Variables of the service that reach llama-server and change what it takes."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import hosts, table
from tests.unit.plugins.module_utils.placement.builders import make_plan


def planned(value, ollama_version="0.32.15"):
    """What a plan predicts for gemma3 with four slots of 8192 tokens."""
    facts = dataclasses.asdict(table.facts("gemma3-27b"))
    wanted = [{"name": "gemma3:27b", "model": facts, "context_length": 8192, "parallel": 4, "ubatch": 512}]
    environment = {} if value is None else {"LLAMA_ARG_KV_UNIFIED": value}
    plan = make_plan(hosts.inventory(hosts.A6000), wanted, ollama_version, environment=environment)
    (model,) = plan["instances"][0]["models"]
    return plan["instances"][0]["environment"], model["predicted"]["devices"][0]


@pytest.mark.parametrize("value", ["1", "true", "on", "enabled", True])
def test_one_stream_for_all_slots_is_predicted(value):
    environment, device = planned(value)
    expected = estimate.estimate(table.facts("gemma3-27b"), [1], Load(8192, 4, unified=True)).devices[0]
    assert (device["kv_bytes"], device["compute_bytes"]) == (expected.kv_bytes, expected.compute_bytes)
    assert device["kv_bytes"] != planned(None)[1]["kv_bytes"]
    assert environment["LLAMA_ARG_KV_UNIFIED"] in ("1", "true", "on", "enabled")


@pytest.mark.parametrize("value", ["0", "false", "off", "disabled"])
def test_a_stream_for_each_slot_stays_as_it_is(value):
    assert planned(value)[1] == planned(None)[1]


def test_releases_before_llama_server_do_not_heed_it():
    assert planned("1", "0.24.0")[1] == planned(None, "0.24.0")[1]


@pytest.mark.parametrize("value", ["yes", "TRUE", "", "2"])
def test_a_value_at_which_the_engine_would_end_is_refused(value):
    with pytest.raises(PlacementError, match="LLAMA_ARG_KV_UNIFIED"):
        planned(value)


def test_a_limit_for_each_slot_of_a_shared_stream_is_refused():
    with pytest.raises(PlacementError, match="moves memory"):
        make_plan(hosts.inventory(hosts.A6000), [], "0.32.15", environment={"LLAMA_ARG_KV_UNIFIED_PER_SLOT": "4096"})
