# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What our own units hold of a GPU. Memory that no process of them can hold is not ours."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.own_memory import own_memory

GIB = 1024**3
A, B, UNIT = "GPU-a", "GPU-b", "ollama@gpu0-1.service"
#: A unit with a large and a small model: 20 + 4 GiB of A, 10 GiB of B.
PLAN = {
    "gpus": [{"uuid": A, "available_bytes": 40 * GIB}, {"uuid": B, "available_bytes": 40 * GIB}],
    "instances": [
        {
            "unit": UNIT,
            "models": [
                {"predicted": {"devices": [{"uuid": A, "total_bytes": 4 * GIB}]}},
                {
                    "predicted": {
                        "devices": [{"uuid": A, "total_bytes": 20 * GIB}, {"uuid": B, "total_bytes": 10 * GIB}]
                    }
                },
            ],
        }
    ],
}


def facts(engines, free=10, processes=((), ()), **more):
    """Two GPUs with so much free memory, and a host on which the unit runs with so many engines."""
    gpus = [
        {"uuid": uuid, "memory": {"free_bytes": free * GIB}, "processes": list(listed), **more}
        for uuid, listed in zip((A, B), processes)
    ]
    unit = {"unit": UNIT, "used_bytes": GIB, "engines": engines}
    return {"gpus": gpus, "host_memory": {"units": [unit, {"unit": "db.service", "used_bytes": GIB, "engines": 3}]}}


def split(inventory, plan=None):
    """[(ours, of others) in GiB] of the two GPUs."""
    found = own_memory({UNIT, None}, inventory, PLAN if plan is None else plan)
    return [tuple(size // GIB for size in found.split(gpu, gpu)) for gpu in inventory["gpus"]]


def process(used, unit=UNIT):
    return {"pid": 1, "unit": unit, "used_bytes": used}


@pytest.mark.parametrize("engines, ours", [(0, [0, 0]), (1, [20, 10]), (2, [24, 10]), (5, [24, 10]), (None, [24, 10])])
def test_where_no_process_is_listed_the_models_that_a_unit_serves_count(engines, ours):
    """As in a container. A unit that runs without a model holds nothing: what is gone then is leaked."""
    assert split(facts(engines)) == [(size, 0) for size in ours]
    unsupported = {"unsupported": ["processes"]}
    assert split(facts(engines, **unsupported)) == [(size, 0) for size in ours]


def test_no_more_counts_than_what_is_gone_since_the_plan_was_made():
    assert split(facts(2, free=37)) == [(3, 0), (3, 0)] and split(facts(2, free=40)) == [(0, 0), (0, 0)]
    assert split(facts(2), plan={}) == [(0, 0), (0, 0)]


def test_a_list_that_is_empty_is_one_of_no_process_where_another_gpu_has_a_process():
    """The unit's model runs on the other GPU: what is gone from this one is nobody's."""
    assert split(facts(2, processes=((), [process(9 * GIB)]))) == [(0, 0), (9, 0)]
    assert split(facts(2, processes=((), [process(9 * GIB, "db.service")]))) == [(0, 0), (0, 9)]
    one_cannot = facts(2, processes=((), [process(9 * GIB)]))
    one_cannot["gpus"][0]["unsupported"] = ["processes"]
    assert split(one_cannot) == [(24, 0), (9, 0)], "its list is not known"


def test_processes_whose_memory_is_not_told_count_as_the_largest_models():
    listed = [process(None), process(None), process(3 * GIB, None)]
    assert split(facts(2, processes=(listed[:1], []))) == [(20, 0), (0, 0)]
    assert split(facts(2, processes=(listed, []))) == [(24, 3), (0, 0)], "and each model once"


def test_memory_of_the_host_and_facts_that_do_not_tell_who_runs():
    unified = facts(2)
    for gpu in unified["gpus"]:
        gpu["memory"]["kind"] = "unified"
    assert split(unified) == [(0, 0), (0, 0)]
    unknown = copy.deepcopy(facts(2))
    del unknown["host_memory"]
    assert split(unknown) == [(0, 0), (0, 0)]
    for gpu in unknown["gpus"]:
        gpu["unsupported"] = ["processes"]
    assert split(unknown) == [(24, 0), (10, 0)]
