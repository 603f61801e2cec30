# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The graph of the blocks that predict further tokens."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.graph import heads, kinds
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load

from tests.oracle import table

MIB = 1024 * 1024


def buffers(name, devices, count, load):
    facts = table.facts(name)
    places = [devices] * (facts.block_count + 1) if not isinstance(devices, list) else devices
    return [size / MIB for size in heads.buffers(facts, kinds.kinds_of(facts, heads=True), places, count, load)]


@pytest.mark.parametrize(
    "name, load, device, host",
    [  # llama-server of build 11669, one device
        ("qwen3.5-27b-mtp", Load(8192, outputs=1), 130.02, 28.02),
        ("qwen3.5-27b-mtp", Load(4096, 2, 1024, outputs=2), 252, 48),
        ("qwen3.5-35b-a3b-mtp", Load(4096, outputs=1), 68, 12),
        ("qwen3-next-80b-mtp", Load(4096, outputs=1), 44, 12),
    ],
)
def test_one_device(name, load, device, host):
    got = buffers(name, 0, 1, load)
    assert got == pytest.approx([device, host], abs=1)


def test_only_the_device_of_the_head_works_and_a_pipeline_copies_its_inputs():
    facts = table.facts("qwen3.5-27b-mtp")
    first, second, host = buffers(
        "qwen3.5-27b-mtp", [0] * 33 + [1] * (facts.block_count - 32), 2, Load(8192, outputs=1)
    )
    assert first == 0
    assert (second, host) == pytest.approx((234.06, 82.07), abs=0.1)


def test_blocks_are_either_heads_or_of_the_trunk():
    facts = table.facts("qwen3.5-27b-mtp")
    trunk, ahead = kinds.kinds_of(facts), kinds.kinds_of(facts, heads=True)
    assert [kind is None for kind in trunk] == [False] * 64 + [True]
    assert [kind is None for kind in ahead] == [True] * 64 + [False]
    assert "nextn.eh_proj.weight" in ahead[64]
