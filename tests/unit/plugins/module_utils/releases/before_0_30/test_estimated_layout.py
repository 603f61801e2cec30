# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Loads by the estimator, 0.11.5 to 0.12.10."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)

from tests.unit.plugins.module_utils.releases.loads import decide, gpus, model


def test_num_gpu_999_takes_all_gpus_by_accident_until_0_12_10():
    facts, host, options = model("llama3.1-8b"), gpus(24, 24), {"num_ctx": 4096, "num_gpu": 999}
    for rules in (v0_5, v0_11_5, v0_11_11):
        decided = decide(rules, facts, host, options)
        assert decided.gpus == [0, 1]
        assert sum(decided.layers) == 33
        assert "num_gpu_takes_all_gpus" in [fault["name"] for fault in decided.faults]
        assert decide(rules, facts, host, dict(options, num_gpu=33)).gpus == [0]
    assert decide(v0_12_11, facts, host, options).gpus == [0]
    assert decide(v0_11_11, model("llama4-scout"), gpus(79, 79), options).gpus == [0]
