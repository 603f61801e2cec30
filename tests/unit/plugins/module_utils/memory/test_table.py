# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory model against the oracle's table: the engine's own dry runs of models of thirty architectures."""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import compute, estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import hosts, record, table
from tests.oracle.engine.dimensions import HELD_OUT, MODELS, of_model
from tests.unit.plugins.module_utils.placement.builders import make_plan

HEADROOM_MIB = 1024  # what a plan keeps free on every GPU
UNDER_MIB = 64  # how much less than the engine a prediction may be


@functools.lru_cache(maxsize=None)
def compared():
    """[(row, devices)] of the whole table."""
    return [(row, table.devices(row)) for row in table.rows()]


def test_the_table_is_large_enough_and_names_its_build():
    head = json.loads(table.TABLE.read_text(encoding="utf-8").splitlines()[0])
    assert "build 11669" in head["engine"]
    rows = table.rows()
    assert len(rows) >= 1500 and all(row["n_outputs_max"] for row in rows)
    assert len({row["model"] for row in rows}) >= 30
    assert len({of_model(row["model"])["arch"] for row in rows}) >= 20
    assert {row["cache_type"] for row in rows} == {"f16", "q8_0", "q4_0"}
    assert {len(row["devices_mib"]) for row in rows} == {1, 2, 3, 4}
    assert table.TABLE.stat().st_size < 2 * 1024 * 1024


def test_rows_of_logits_are_those_of_the_server_in_every_row():
    for row in table.rows() + table.rows(record.ESTIMATED):
        assert len(set(table.outputs(row))) == 1, row


def test_an_older_server_has_logits_for_every_token_as_llama_fit_params_has():
    rows = table.rows(record.OLDER)
    assert len(rows) >= 250 and len({row["model"] for row in rows}) >= 90
    devices = [device for row in rows for device in table.devices(row)]
    assert all(table.near(engine, ours) and there == here for engine, ours, there, here in devices)
    assert sum(abs(ours[2] - engine[2]) <= 1.01 for engine, ours, *unused in devices) >= 0.98 * len(devices)


def test_weights_and_kv_cache_are_the_engine_s_to_the_mib_in_every_row():
    for row, devices in compared():
        for engine, ours, unused, unused_too in devices:
            assert table.exact(engine, ours), row


def test_layers_are_the_engine_s_in_every_row():
    for row, devices in compared():
        assert [layers for unused, unused_too, unused_three, layers in devices] == [
            layers for unused, unused_too, layers, unused_three in devices
        ], row


def test_totals_are_near_and_never_too_small_by_more_than_64_mib():
    far, errors = 0, []
    for row, devices in compared():
        for engine, ours, unused, unused_too in devices:
            total = sum(engine)
            error = sum(ours) - total
            errors.append(abs(error) / max(total, 1))
            far += abs(error) > max(0.03 * total, 128)
            assert error > -UNDER_MIB, row
    assert far <= 0.005 * len(errors)
    assert statistics.median(errors) <= 0.0005


def test_compute_buffers_follow_the_engine_s_allocator():
    errors = [
        abs(ours[2] - engine[2]) for unused, devices in compared() for engine, ours, unused_too, unused_three in devices
    ]
    assert sum(error <= 1.01 for error in errors) >= 0.995 * len(errors)


def test_slots_that_share_one_stream_are_the_server_s_to_the_mib():
    errors, models, parallel = [], set(), set()
    for row, devices in compared():
        if row.get("kv_unified"):
            models.add(row["model"])
            parallel.add(row["n_parallel"])
            errors.extend(abs(sum(ours) - sum(engine)) for engine, ours, unused, unused_too in devices)
    assert len(errors) > 60 and len(models) >= 15 and parallel == {1, 2, 3, 4}
    assert sum(error < 3 for error in errors) >= 0.98 * len(errors)


def test_no_model_s_compute_buffers_are_right_by_chance_only():
    right = {}
    for row, devices in compared():
        right.setdefault(row["model"], []).extend(
            abs(ours[2] - engine[2]) <= 1.01 for engine, ours, unused, unused_too in devices
        )
    assert not {name for name, found in right.items() if sum(found) < 0.8 * len(found)}
    for name in ("starcoder-15b", "falcon-7b", "falcon-40b"):  # one matrix for q, k and v; parts side by side
        assert len(right[name]) > 20 and all(right[name])


def test_models_that_were_not_looked_at_are_as_near_as_the_others():
    errors = [
        abs(ours[2] - engine[2])
        for row, devices in compared()
        if row["model"] in HELD_OUT
        for engine, ours, unused, unused_too in devices
    ]
    assert len(errors) > 400
    assert sum(error <= 1.01 for error in errors) >= 0.98 * len(errors)


def test_models_that_are_estimated_say_so_and_are_never_too_small_by_more_than_64_mib():
    rows = table.rows(record.ESTIMATED)
    assert len({row["model"] for row in rows}) >= 7
    for row in rows:
        assert table.predicted(row).estimated
        for engine, ours, layers, our_layers in table.devices(row):
            assert layers == our_layers and all(
                0 <= mine - theirs < 1.01 for theirs, mine in zip(engine[:2], ours[:2])
            ), row
            assert sum(ours) - sum(engine) > -64, row
            if not engine[1]:
                assert sum(ours) - sum(engine) < HEADROOM_MIB, (
                    row
                )  # embedding models: they are small, and so is the margin


def test_attention_behind_an_indexer_is_never_too_small():
    """At short contexts all of it is latent attention; the scores of an indexer come on top at long ones."""
    rows = [
        row for row in table.rows(record.ESTIMATED) if row["model"] == "deepseek-v3.2" and row["flash_attn"] == "on"
    ]
    alone = [row for row in rows if len(row["devices_mib"]) == 1 and row["n_gpu_layers"] == 999]
    assert len(alone) >= 8 and {row["n_ctx"] for row in alone} >= {2048, 8192, 24576, 28672, 40960, 98304}
    for row in rows:
        for engine, ours, unused, unused_too in table.devices(row):
            assert sum(ours) - sum(engine) > -64, row
    for row in alone:
        ((engine, ours, unused, unused_too),) = table.devices(row)
        assert ours[2] < 1.12 * engine[2], row


def test_a_model_in_several_files_is_the_sum_of_them():
    whole, parts = table.facts("llama3.1-8b"), table.facts("llama3.1-8b-00001-of-00003")
    assert parts.split_count == 3
    assert [layer.weight_bytes for layer in parts.layers] == [layer.weight_bytes for layer in whole.layers]
    assert any(row["model"] == parts.name for row in table.rows())


@pytest.mark.parametrize("architecture", ["llama5", "somethingnew"])
def test_an_unknown_architecture_is_estimated_carefully_and_marked(architecture):
    known = table.facts("llama3.1-8b")
    unknown = dataclasses.replace(known, architecture=architecture)
    careful = estimate.estimate(unknown, [1, 1], Load(8192))
    exact = estimate.estimate(known, [1, 1], Load(8192))
    assert careful.estimated and not exact.estimated
    for ours, theirs in zip(careful.devices, exact.devices):
        assert ours.weight_bytes == theirs.weight_bytes
        assert ours.compute_bytes > theirs.compute_bytes


@pytest.mark.parametrize("name", sorted(MODELS) + sorted(HELD_OUT))
def test_tensors_that_no_block_has_end_in_an_estimate(name):
    model = table.facts(name)
    strange = dataclasses.replace(model, layer_kinds=[{"strange.weight": [8, 8]} for unused in model.layer_kinds])
    assert all(size > 0 for size in compute.compute_by_device(strange, [0] * (model.block_count + 1), 1, Load(4096)))


def test_a_plan_says_that_an_estimate_is_one():
    model = table.model("llama3.1-8b")
    wanted = {"name": "llama3.1-8b", "model": model, "context_length": "4096"}

    def planned(architecture, version="0.32.15"):
        facts = dict(wanted, model=dict(model, architecture=architecture))
        found = make_plan(gpu_inventory=hosts.inventory(hosts.A6000), models=[facts], ollama_version=version)
        return found["warnings"], found["instances"][0]["models"][0]["predicted"]["estimated"]

    warnings, estimated = planned("llama")
    assert not any("estimate" in text for text in warnings) and not estimated
    warnings, estimated = planned("plamo")
    assert any("careful estimate" in text and "plamo" in text for text in warnings) and estimated
    assert planned("llama", "0.24.0")[1]
