# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Loads on Ollama's own engine."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import v0_12_11

from tests.unit.plugins.module_utils.releases.loads import decide, gpus, model


def test_own_engine_is_predicted_where_no_runner_measures():
    for name in ("gemma3-12b", "gpt-oss-20b", "llama4-scout", "qwen3-32b"):
        facts = model(name)
        decided = decide(v0_12_11, facts, gpus(79, 79), {"num_ctx": 8192})
        assert (decided.outcome, sum(decided.layers)) == ("single", facts.block_count + 1)
        split = decide(v0_12_11, facts, gpus(79, 79), {"num_ctx": 8192}, {"OLLAMA_SCHED_SPREAD": "1"})
        assert split.outcome == "split" and min(split.layers) > facts.block_count // 3
        partial = decide(v0_12_11, facts, gpus(6), {"num_ctx": 8192})
        assert partial.outcome == "partial"
