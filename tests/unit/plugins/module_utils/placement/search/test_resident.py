# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Several models on one host: a place for each that leaves a place for the others."""

from __future__ import annotations

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import (
    GIB,
    MIB,
    TWO_A6000,
    held,
    outline,
    plan,
    sized,
    wanted,
    where,
)


def test_several_models_go_where_they_leave_the_fullest_gpu_emptiest():
    result = plan(TWO_A6000, wanted("llama3.1-8b"), wanted("qwen3-14b"), wanted("qwen3-32b"))
    where = {name: instance for instance, name, dummy in outline(result)}
    assert where == {
        "qwen3-32b:latest-optimized": "gpu0",
        "qwen3-14b:latest-optimized": "gpu1",
        "llama3.1-8b:latest-optimized": "gpu1",
    }
    shared = result["instances"][1]
    assert shared["environment"]["OLLAMA_MAX_LOADED_MODELS"] == "2"
    assert [report["name"] for report in result["models"]] == [
        "llama3.1-8b:latest",
        "qwen3-14b:latest",
        "qwen3-32b:latest",
    ]


def test_a_set_that_fits_only_in_one_way_is_found():
    # Largest first, each to the emptiest GPU, leaves no room for the last one: 13 | 9 + 9 | 7 does not work, but
    # 13 + 9 does.
    inventory = hosts.inventory((24576, 24000), (24576, 24000))
    sizes = [11.5, 8.0, 8.0, 5.5, 5.5]
    result = plan(
        inventory,
        *[sized("m%d" % number, size, context_length=2048, headroom_bytes=0) for number, size in enumerate(sizes)],
    )
    assert result["feasible"]
    for gpu, size in held(result).items():
        assert size <= 24000 * MIB, gpu
    assert not plan(
        inventory,
        *[
            sized("m%d" % number, size + 1.5, context_length=2048, headroom_bytes=0)
            for number, size in enumerate(sizes)
        ],
    )["feasible"]


def test_the_fullest_gpu_is_as_empty_as_possible():
    # Each to the emptiest GPU would give 8 + 5 + 5 and 7 + 6; 8 + 7 and 6 + 5 + 5 is more even.
    result = plan(
        TWO_A6000, *[sized("m%d" % number, size, context_length=2048) for number, size in enumerate([8, 7, 6, 5, 5])]
    )
    sums = sorted(held(result).values())
    assert sums[1] - sums[0] < 2 * GIB and len(sums) == 2


def test_a_split_leaves_room_for_the_others():
    # The two best GPUs for the split are the only ones that hold the other model.
    inventory = hosts.inventory((24564, 24100), (49140, 48600), (24564, 24100))
    result = plan(
        inventory,
        wanted("llama3.3-70b", strategy="split", context_length=4096),
        wanted("qwen3-32b", context_length=4096, strategy="single"),
    )
    assert result["feasible"]
    assert set(where(result)["qwen3-32b"]) != {"gpu0-1"}
