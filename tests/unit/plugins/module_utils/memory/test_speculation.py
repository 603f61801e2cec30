# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory of speculative decoding against llama-server's own figures, and by hand."""

from __future__ import annotations

import dataclasses
import functools
import io
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate, speculation
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import DRAFT, HEADS, Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.model import hyperparameters
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.facts import model_facts
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import read_header

from tests.oracle import record_speculation, rig_rows, table
from tests.oracle import speculation as oracle
from tests.rig.models import catalog

MIB = 1024 * 1024


@functools.lru_cache(maxsize=None)
def rig_facts(name):
    """The facts of a model of the rig."""
    head, size = catalog.header_of(name + ":latest")
    found = model_facts(read_header(io.BytesIO(head).read))
    return hyperparameters.complete(
        dict(found, name=name, source="file", digest=None, size_bytes=size, file_bytes=size)
    )


@functools.lru_cache(maxsize=None)
def compared():
    """[(row, [(the engine's MiB, ours)])] of the whole table."""
    return [(row, oracle.devices(row)) for row in table.rows(record_speculation.TABLE)]


def test_the_table_has_every_kind_and_names_its_build():
    head = json.loads(record_speculation.TABLE.read_text(encoding="utf-8").splitlines()[0])
    assert "build 11669" in head["engine"]
    rows = [row for row, unused in compared()]
    assert len(rows) >= 60
    assert {row["speculation"] for row in rows} == {None, DRAFT, HEADS}
    assert len({row["model"] for row in rows if row["speculation"] == HEADS}) >= 5
    assert sum(1 for row in rows if row["adapters"]) >= 15
    assert len({row["model"] for row in rows if row.get("cpu_experts")}) >= 4
    assert sum(1 for row in rows if row["speculation"] == HEADS and row["draft"]) >= 5
    assert {len(row["devices_mib"]) for row in rows} == {1, 2, 3, 4}
    assert {row["cache_type"] for row in rows} == {"f16", "q8_0", "q4_0"}
    assert {row["n_parallel"] for row in rows} == {1, 2, 4}


def test_weights_caches_and_adapters_are_the_engine_s_to_the_mib_in_every_row():
    for row, devices in compared():
        for engine, ours in devices:
            for part in (0, 1, 3, 4):
                assert 0 <= ours[part] - engine[part] < 1.01, (part, row)
            assert abs(ours[6] - engine[6]) < 0.1, row


def test_totals_are_near_and_hardly_ever_below():
    errors = []
    for row, devices in compared():
        for engine, ours in devices:
            assert oracle.close(engine, ours), (row, engine, ours)
            assert sum(ours) - sum(engine) > -8, row
            errors.append(abs(sum(ours) - sum(engine)) / max(sum(engine), 1))
    assert sum(1 for error in errors if error <= 0.01) >= 0.95 * len(errors)


def heads(tokens, model="qwen3.5-27b-mtp", **settings):
    return estimate.estimate(table.facts(model), [1], Load(8192, speculation=HEADS, drafted=tokens, **settings))


def test_heads_are_loaded_only_where_they_propose():
    with_heads, without = heads(4).devices[0], heads(0).devices[0]
    assert with_heads.drafting.weight_bytes / MIB == pytest.approx(252, abs=1)
    assert with_heads.drafting.kv_bytes == 8192 * 2 * 4 * 256 * 2
    assert without.drafting == speculation.Drafting()
    assert with_heads.weight_bytes == without.weight_bytes
    assert with_heads.engine_bytes > without.engine_bytes


def test_a_state_more_is_kept_for_each_token_that_heads_propose():
    plain = heads(0).devices[0].kv_bytes
    state = heads(1).devices[0].kv_bytes - plain
    assert state > 100 * MIB
    assert heads(4).devices[0].kv_bytes == plain + 4 * state
    other = "qwen3-next-80b-mtp"  # cannot go back to a state before
    assert heads(4, other).devices[0].kv_bytes == heads(0, other).devices[0].kv_bytes


def test_the_cache_of_what_proposes_is_not_of_the_model_s_type():
    assert heads(4, cache_type="q4_0").devices[0].drafting.kv_bytes == heads(4).devices[0].drafting.kv_bytes


def test_a_model_without_heads_and_without_a_draft_proposes_nothing():
    assert heads(4, "qwen3.5-27b").devices[0].drafting == speculation.Drafting()
    assert not heads(4, "qwen3.5-27b").estimated


def test_experts_of_a_head_on_the_host_are_computed_there():
    model = table.facts("qwen3.5-35b-a3b-mtp")
    on_host = {index: (layer.expert_bytes, None) for index, layer in enumerate(model.layers)}
    load = Load(8192, speculation=HEADS, drafted=4, outputs=5)
    without = estimate.estimate(model, [1], load, moved=on_host).devices[0].drafting
    assert 0 < without.compute_bytes < estimate.estimate(model, [1], load).devices[0].drafting.compute_bytes


def test_a_draft_is_wholly_on_the_devices_whatever_the_model_is():
    facts = dataclasses.replace(table.facts("llama3.1-8b"), draft=table.facts("llama3.2-1b"))
    load = Load(8192, speculation=DRAFT, drafted=4, outputs=5)
    got = estimate.estimate(facts, [1, 1], load, gpu_layers=0)
    assert [device.layers for device in got.devices] == [0, 0]
    alone = estimate.estimate(table.facts("llama3.2-1b"), [1, 1], Load(8192, outputs=1)).devices
    for mine, theirs in zip(got.devices, alone):
        assert mine.drafting.total_bytes == theirs.engine_bytes
    assert sum(device.drafting.weight_bytes for device in got.devices) > 1000 * MIB


def test_the_estimate_is_within_the_range_that_the_plan_names(monkeypatch):
    """It is tried on the heads that are known, whose rows the engine gave."""
    rows = [row for row, unused in compared() if row["speculation"] == HEADS]
    monkeypatch.setattr(speculation, "KNOWN", frozenset())
    speculation._answers.forget()
    pairs = [(engine[5], ours[5]) for row in rows for engine, ours in oracle.devices(row) if engine[5]]
    speculation._answers.forget()
    least, most = speculation.ESTIMATE_RANGE
    assert len(pairs) >= 60
    for engine, ours in pairs:
        assert least * engine <= ours + 1 and ours <= most * (engine + 1), (engine, ours)


@pytest.mark.parametrize(
    # llama-server of build 11669: tokens, batch, devices, MiB of the compute buffer of the head of deepseek32.
    "context, ubatch, devices, engine",
    [(8192, 512, 1, 375), (65536, 512, 1, 431), (131072, 1024, 1, 990), (32768, 1024, 2, 1102), (4096, 2048, 2, 1756)],
)
def test_the_range_holds_for_heads_that_it_was_not_made_from(context, ubatch, devices, engine):
    load = Load(context, ubatch=ubatch, speculation=HEADS, drafted=4, outputs=5)
    got = estimate.estimate(table.facts("deepseek-v3.2-mtp"), [1] * devices, load)
    least, most = speculation.ESTIMATE_RANGE
    assert got.estimated
    assert least * engine - 1 <= got.devices[-1].drafting.compute_bytes / MIB <= most * engine


def test_the_rows_of_the_rig_are_predicted_to_the_mib():
    """A small model with a draft model, and one with heads of its own (tests/rig/engine/speculation-rows.json)."""
    found = json.loads(rig_rows.SPECULATION_ROWS.read_text(encoding="utf-8"))["rows"]
    assert len(found) == 96
    for row in found:
        whole = dict(row, adapters=[], n_gpu_layers=999, kv_unified=False, devices_mib=[1] * len(row["tensor_split"]))
        for engine, ours in oracle.devices(whole, rig_facts):
            assert all(-0.01 <= mine - theirs < 1.01 for theirs, mine in zip(engine, ours)), (row, engine, ours)


def test_heads_that_are_not_known_are_estimated_and_said_to_be():
    facts = dataclasses.replace(table.facts("qwen3.5-27b-mtp"), architecture="step35")
    got = estimate.estimate(facts, [1], Load(8192, speculation=HEADS, drafted=4))
    assert got.estimated
    assert got.devices[0].drafting.compute_bytes >= heads(4).devices[0].drafting.compute_bytes


def test_a_draft_that_is_not_known_is_estimated_and_said_to_be():
    draft = dataclasses.replace(table.facts("llama3.2-1b"), architecture="dflash")
    facts = dataclasses.replace(table.facts("llama3.1-8b"), draft=draft)
    assert estimate.estimate(facts, [1], Load(8192, speculation="draft-dflash", drafted=4)).estimated
    assert not estimate.estimate(facts, [1], Load(8192)).estimated
