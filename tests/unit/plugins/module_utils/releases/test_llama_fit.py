# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama.cpp's fit: what it does with experts and margins (the recorded fits are replayed in test_v0_30.py)."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Layer, ModelFacts
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import llama_fit

from tests.oracle import fits, models

MIB = 1024 * 1024


def fit(name, *free_mib, context=4096, **more):
    options = llama_fit.FitOptions(**more)
    return llama_fit.fit(models.facts(name), [size * MIB for size in free_mib], Load(context), options)


def test_experts_stay_on_the_host_before_layers_do():
    fitted = fit("mixtral-8x7b", 12000)
    assert fitted.changed and fitted.layers == [33]
    assert 0 < fitted.overflowing < 32
    assert all(target is None for dummy, target in fitted.moved.values())
    whole = models.facts("mixtral-8x7b").layers[0].expert_bytes
    assert sorted(size for size, dummy in fitted.moved.values())[-1] >= whole


def test_weights_elsewhere_are_what_the_pattern_matches():
    layer = Layer(0, weight_bytes=100, expert_bytes=60, ffn_up_bytes=21, ffn_gate_bytes=22, ffn_down_bytes=23)
    overflow = llama_fit.Overflow(ModelFacts(layers=[layer]))
    kinds = (llama_fit.EXPERTS, llama_fit.FEED_FORWARD, llama_fit.GATE_AND_DOWN, llama_fit.DOWN)
    assert [overflow.bytes(0, kind) for kind in kinds] == [60, 66, 45, 23]
    # Facts without the parts: a third of the experts each.
    overflow = llama_fit.Overflow(ModelFacts(layers=[Layer(0, weight_bytes=100, expert_bytes=60)]))
    assert [overflow.bytes(0, kind) for kind in kinds] == [60, 60, 40, 20]


def test_the_last_layer_keeps_as_many_of_its_weights_as_fit():
    kept = set()
    for size in range(12000, 13600, 200):
        fitted = fit("mixtral-8x7b", size)
        layers = models.facts("mixtral-8x7b").layers
        first = min(fitted.moved)
        kept.add(round(fitted.moved[first][0] / layers[first].expert_bytes, 1))
    # All experts, all but up, down alone (a third, or more where down is larger): each where it fits.
    assert {1.0, 0.7} <= kept and min(kept) < 0.5


def test_a_dense_model_leaves_whole_layers_on_the_host():
    fitted = fit("llama3.3-70b", 24000)
    assert fitted.changed and fitted.overflowing == 0 and fitted.moved == {}
    assert 0 < fitted.layers[0] < 81
    assert fitted.used_bytes[0] <= (24000 - 1024) * MIB
    more = fit("llama3.3-70b", 24000, margins=[4096 * MIB])
    assert more.layers[0] < fitted.layers[0]


@pytest.mark.parametrize("keywords", [{"gpu_layers": 999}, {"tensor_split": [1, 1]}, {"enabled": False}])
def test_settings_of_the_user_switch_it_off(keywords):
    fitted = fit("llama3.3-70b", 16000, 16000, **keywords)
    assert not fitted.changed and sum(fitted.layers) == 81


def test_every_device_keeps_its_margin_and_every_layer_has_one_place():
    for name in ("llama3.3-70b", "mixtral-8x7b", "gpt-oss-120b", "qwen3-30b-a3b"):
        for sizes in ((8000,), (12000, 6000), (6000, 12000), (16000, 8000, 12000)):
            fitted = fit(name, *sizes, context=16384)
            assert sum(fitted.layers) <= models.facts(name).block_count + 1
            if fitted.changed:
                counted = zip(fitted.counted_bytes, sizes)
                assert all(used <= (size - 1024) * MIB or not used for used, size in counted), (name, sizes)


def test_fits_of_other_models_are_llama_server_s():
    rows = fits.rows()[::3]  # a third of them: the whole file is the bench's
    pairs = [fits.compare(row) for row in rows]
    used = [(expected.pop("used_mib"), got.pop("used_mib")) for expected, got in pairs]
    assert len(rows) == 80 and [pair for pair in pairs if pair[0] != pair[1]] == []
    assert sum(engine == ours for engine, ours in used) >= 79
    changed = dict(rows[0], changed=not rows[0]["changed"], layers=[0], overflowing=[0])
    assert len(set(map(str, fits.compare(changed)))) == 2


def test_what_a_part_leaves_counts_on_the_device_that_takes_it():
    # The feed-forward part of a fourth layer would be 500 MiB too much for the second device. By llama-fit-params, with
    # logits for every token.
    row = {
        "model": "hunyuan-a13b",
        "devices_mib": [6144, 6144],
        "n_ctx": 16384,
        "n_ubatch": 512,
        "cache_type": "q8_0",
        "changed": True,
        "layers": [3, 30],
        "overflowing": 29,
    }
    expected, got = fits.compare(row)
    assert got == expected


def test_the_router_and_the_shared_expert_leave_with_a_part():
    # Of a device that has 5,120 MiB, llama-server counts 5,138 with gate and down of a shared expert on the next one.
    row = next(
        row for row in fits.rows() if row["model"] == "hunyuan-a13b" and row["devices_mib"] == [12288, 6144, 24564]
    )
    expected, got = fits.compare(row)
    assert expected == got
