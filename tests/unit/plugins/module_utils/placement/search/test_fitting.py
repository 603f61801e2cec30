# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a model takes on its GPUs, for the release that is planned for."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.search.fitting import Fitting
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.shapes import GpuRoom, Wanted
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions

from tests.oracle import hosts, models, table
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, TWO_A6000, gpu, make_plan, plan, sized, wanted


def test_the_projector_is_a_line_on_the_first_gpu():
    model = wanted("llama4-scout", context_length=32768)
    model["model"] = dict(model["model"], projector_bytes=1619 * MIB)
    devices = plan(TWO_A6000, model)["instances"][0]["models"][0]["predicted"]["devices"]
    assert [device["projector_bytes"] for device in devices] == [1619 * MIB, 0]


def test_gpus_that_are_too_old_for_flash_attention_are_planned_without_it():
    def compute(capability, version, **settings):
        inventory = dict(hosts.inventory(hosts.A6000, compute_capability=capability), driver_version="580.95.05")
        result = plan(inventory, wanted("llama3.1-8b", context_length=16384, **settings), ollama_version=version)
        predicted = result["instances"][0]["models"][0]["predicted"]
        return predicted["devices"][0]["compute_bytes"], predicted["ubatch"]

    switched_off = compute("8.6", "0.32.15", flash_attention=False)
    assert switched_off[0] > compute("8.6", "0.32.15", ubatch=512)[0]
    assert compute("5.2", "0.32.15") == switched_off
    assert compute("6.1", "0.30.0") == compute("8.6", "0.30.0", flash_attention=False)  # from 0.31.2 Pascal has it too
    assert compute("6.1", "0.32.15") == compute("8.6", "0.32.15")


def test_an_embedding_model_is_planned_without_logits():
    def planned_model(version, *capabilities):
        entry = wanted("qwen3-8b", context_length=8192, ubatch=2048)
        entry["model"] = dict(entry["model"], capabilities=list(capabilities))
        return plan(TWO_A6000, entry, ollama_version=version)["instances"][0]["models"][0]

    embeds, older = (planned_model(version, "embedding") for version in ("0.32.15", "0.24.0"))
    chats = planned_model("0.32.15", "completion")
    assert (embeds["embedding"], older["embedding"], chats["embedding"]) == (True, False, False)
    sizes = [model["predicted"]["devices"][0]["compute_bytes"] for model in (embeds, chats, older)]
    assert sizes[0] - sizes[1] < 64 * MIB < GIB < sizes[2] - sizes[0] + 512 * MIB


def test_an_embedding_model_gets_the_batch_of_embedding_models():
    def batch(**settings):
        entry = wanted("qwen3-8b", **settings)
        entry["model"] = dict(entry["model"], capabilities=["embedding"])
        predicted = plan(TWO_A6000, entry)["instances"][0]["models"][0]["predicted"]
        return predicted["ubatch"]

    assert (batch(context_length=8192), batch(context_length=1024), batch(context_length=8192, ubatch=512)) == (
        2048,
        1024,
        512,
    )
    assert (
        plan(TWO_A6000, wanted("qwen3-8b", context_length=8192))["instances"][0]["models"][0]["predicted"]["ubatch"]
        == 1024
    )


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
    expected = estimate.estimate(table.facts("gemma3-27b"), [1], Load(8192, 4, unified=True, outputs=4)).devices[0]
    assert (device["kv_bytes"], device["compute_bytes"]) == (expected.kv_bytes, expected.compute_bytes)
    assert device["kv_bytes"] != planned(None)[1]["kv_bytes"]
    assert environment["LLAMA_ARG_KV_UNIFIED"] in ("1", "true", "on", "enabled")


@pytest.mark.parametrize("value", ["0", "false", "off", "disabled"])
def test_a_stream_for_each_slot_stays_as_it_is(value):
    assert planned(value)[1] == planned(None)[1]


def test_logits_are_predicted_as_the_release_has_them():
    def compute(version, **environment):
        facts = dataclasses.asdict(table.facts("gemma3-27b"))
        wanted = [{"name": "gemma3:27b", "model": facts, "context_length": 4096, "parallel": 2, "ubatch": 2048}]
        found = make_plan(hosts.inventory(hosts.A6000), wanted, version, environment=environment)
        return found["instances"][0]["models"][0]["predicted"]["devices"][0]["compute_bytes"] // MIB

    # llama-server and llama-fit-params of build 11669 for this load.
    assert (compute("0.32.15"), compute("0.30.0")) == (700, 2244)
    assert compute("0.32.15", LLAMA_ARG_POOLING="mean") == 2244


def test_releases_before_llama_server_do_not_heed_it():
    assert planned("1", "0.24.0")[1] == planned(None, "0.24.0")[1]


def test_the_batch_is_chosen_by_the_memory_that_ollama_sees():
    # A batch of 1024 needs 80 % of what is free for figure and surcharge: by NVML they fit, by Ollama they do not.
    inventory = hosts.inventory((11264, 11100), architecture="Turing", compute_capability="7.5")
    entry = sized("m", 7.5, context_length=8192)

    def ubatch(**options):
        model = plan(inventory, entry, **options)["instances"][0]["models"][0]
        return model["predicted"]["ubatch"]

    assert (ubatch(), ubatch(overhead_bytes=0)) == (512, 1024)


def test_layers_are_divided_by_the_free_memory_that_the_engine_sees():
    """One CUDA context less on each GPU than NVML tells: it counts where the GPUs have different amounts free."""
    rooms = [GpuRoom(gpu(0), 20 * GIB), GpuRoom(gpu(1), 2200 * MIB)]
    facts = models.facts("llama3.1-8b")
    fitting = Fitting(versions.release_of("0.32.15"), overhead_bytes=600 * MIB)
    asked = Wanted(name="m", create_as="m-o", facts=facts, context_length=4096)
    found = fitting.predict(asked, rooms, 4096)
    load = fitting.load(asked, 4096, found.ubatch)
    by_engine = estimate.estimate(facts, [20 * GIB - 600 * MIB, 1600 * MIB], load)
    by_nvml = estimate.estimate(facts, [20 * GIB, 2200 * MIB], load)
    assert found.layers == tuple(device.layers for device in by_engine.devices)
    assert found.layers != tuple(device.layers for device in by_nvml.devices)
    older = Fitting(versions.release_of("0.24.0"), overhead_bytes=600 * MIB).predict(asked, rooms, 4096)
    assert older.layers == tuple(device.layers for device in by_nvml.devices)
