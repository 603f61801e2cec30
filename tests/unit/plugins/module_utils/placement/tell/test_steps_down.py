# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a plan takes away from models that serve."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.steps_down import steps_down


def instances(*served, name="a"):
    """Instances that each serve one model: (layers per GPU, total layers)."""
    return [
        {
            "models": [
                {
                    "create_as": name,
                    "predicted": {
                        "gpu_layers": sum(layers.values()),
                        "total_layers": total,
                        "devices": [{"uuid": uuid, "layers": count} for uuid, count in layers.items()],
                    },
                }
            ]
        }
        for layers, total in served
    ]


SPLIT = instances(({"GPU-0": 20, "GPU-1": 13}, 33))
TWO = instances(({"GPU-0": 33}, 33), ({"GPU-1": 33}, 33))


@pytest.mark.parametrize(
    "before, after, words",
    [
        (SPLIT, instances(({}, 33)), "it runs on 2 GPUs now and would run on the CPU, which is much slower"),
        (SPLIT, instances(({"GPU-0": 33}, 33)), "it runs on 2 GPUs now and would run on 1 GPU"),
        (
            SPLIT,
            instances(({"GPU-0": 20, "GPU-1": 10}, 33)),
            "it has 33 of 33 layers on GPUs now and would have 30 there, the rest on the CPU",
        ),
        (TWO, TWO[:1], "it runs on 2 GPUs now and would run on 1 GPU and it has 2 instances now and would have 1"),
    ],
)
def test_what_is_taken_away_is_said(before, after, words):
    assert steps_down(before, after) == ["a steps down: %s." % words]


@pytest.mark.parametrize(
    "before, after",
    [
        (SPLIT, SPLIT),
        ([], SPLIT),
        (TWO[:1], TWO),
        (TWO[:1], SPLIT),
        (instances(({}, 33)), TWO),
        (SPLIT, instances(({"GPU-0": 33}, 33), name="b")),  # the user left the model out
        (SPLIT, instances(({"GPU-0": 5, "GPU-1": 4}, 9))),  # another model of that name has fewer layers
        ([{"unit": "ollama@gpu0.service"}], SPLIT),  # all that a damaged plan tells
    ],
)
def test_nothing_is_said_where_nothing_is_taken_away(before, after):
    assert steps_down(before, after) == []
