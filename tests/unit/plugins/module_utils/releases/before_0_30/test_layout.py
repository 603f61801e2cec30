# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The layout in proportion to free memory."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)

from tests.oracle import before_0_30 as recorded
from tests.unit.plugins.module_utils.releases.loads import decide, gpus, model, recorded_rows


@pytest.mark.parametrize(
    "rules, spread",
    [
        (v0_5, [11, 11, 11]),
        (v0_11_5, [11, 11, 11]),
        (v0_11_11, [11, 11, 11]),
        (v0_12_11, [12, 12, 9]),
    ],  # counts until 0.12.10, then bytes: the output layer is large
)
def test_a_model_that_fits_one_gpu_takes_one_and_all_with_spread(rules, spread):
    facts, host, options = model("llama3.1-8b"), gpus(24, 24, 24), {"num_ctx": 4096}
    alone = decide(rules, facts, host, options)
    assert (alone.outcome, alone.gpus, alone.layers) == ("single", [0], [33])
    everywhere = decide(rules, facts, host, options, {"OLLAMA_SCHED_SPREAD": "1"})
    assert (everywhere.outcome, everywhere.layers) == ("split", spread)


def test_a_forced_num_gpu_on_full_gpus_hangs_and_says_so():
    row = next(row for row in recorded_rows("D", "llama_engine") if row["result"].get("hang"))
    case = row["case"]
    for version in ((0, 12, 11), (0, 24, 0)):
        decided = decide(
            v0_12_11,
            model(case["model"]),
            recorded.gpus_of(case),
            {"num_gpu": case["num_gpu"], "num_ctx": case["num_ctx"]},
            case["env"],
            version=version,
        )
        assert decided.hangs and decided.outcome is None
        assert "num_gpu" in decided.error
        assert "endless_search" in [fault["name"] for fault in decided.faults]
