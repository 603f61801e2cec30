# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Addresses that clients use stay with the models, whatever plans follow each other."""

from __future__ import annotations

import itertools
import os

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import hosts
from tests.unit.plugins.module_utils.placement.builders import plan, settings_of, sized

EXAMPLES = int(os.environ.get("GPUFLEET_EXAMPLES", "30"))
PHASES = [phase for phase in hypothesis.Phase if phase not in (hypothesis.Phase.shrink, hypothesis.Phase.explain)]
QUICK = hypothesis.settings(max_examples=EXAMPLES, phases=PHASES)

GPUS = hosts.inventory(*[hosts.RTX4090] * 3)
#: What a user may ask for in one plan: settings by model.
ASKED = st.dictionaries(
    st.sampled_from("abcde"),
    st.fixed_dictionaries(
        {
            "strategy": st.sampled_from(["auto", "auto", "single", "replicate", "split", "spread"]),
            "kv_cache_type": st.sampled_from([None, None, "q8_0"]),
            "context_length": st.sampled_from([2048, 8192]),
        }
    ),
    min_size=1,
    max_size=4,
)
SIZES = {"a": 1, "b": 2, "c": 5, "d": 9, "e": 14}


def entries(asked):
    return [sized(name, SIZES[name], **settings) for name, settings in sorted(asked.items())]


def addresses(result):
    """{model: its ports, that at which it was first served first}."""
    found = {}
    for instance in result["instances"]:
        for model in instance["models"]:
            ports = found.setdefault(model["create_as"], [])
            ports.insert(0 if model["first_address"] else len(ports), instance["port"])
    return found


def kept_at_most(result, first):
    """Number of models that can keep their first address at most, by trying all ports for all instances."""
    ports = sorted(set(first.values()))
    served = [[first.get(model["create_as"]) for model in instance["models"]] for instance in result["instances"]]
    seats = ports + [None] * len(served)
    return max(
        sum(wanted.count(port) for wanted, port in zip(served, taken) if port is not None)
        for taken in set(itertools.permutations(seats, len(served)))
    )


@QUICK
@given(st.lists(ASKED, min_size=2, max_size=5))
def test_a_client_finds_its_model_where_it_was_or_is_told(sequence):
    applied, clients = None, {}
    for asked in sequence:
        result = plan(GPUS, *entries(asked), applied_plan=applied)
        if not result["feasible"]:
            continue
        now = addresses(result)
        ports = [instance["port"] for instance in result["instances"]]
        assert len(ports) == len(set(ports)) and min(ports) >= 11434
        told = [sentence.split(" ", 1)[0] for sentence in result["moved_addresses"]]
        assert result["warnings"][len(result["steps_down"]) :][: len(told)] == result["moved_addresses"]
        for name, port in list(clients.items()):
            if name not in now:
                del clients[name]
            elif port not in now[name]:
                assert name in told, (name, port)
        if len(result["instances"]) < 5:
            stays = sum(port in now[name] for name, port in clients.items())
            assert stays == kept_at_most(result, clients)
        for name, listed in now.items():
            # A client goes on with the address that it has, and asks for another only where that is gone.
            if clients.get(name) not in listed:
                clients[name] = listed[0]
            assert clients[name] == listed[0]
        applied = result
        again = plan(GPUS, *entries(asked), applied_plan=applied)
        assert settings_of(again) == settings_of(result) and again["moved_addresses"] == []
        assert addresses(again) == now


def test_adding_a_model_moves_no_other():
    before = plan(GPUS, sized("m", 14))
    for size in (1, 5, 14, 20):
        after = plan(GPUS, sized("a", size), sized("m", 14), applied_plan=before)
        assert set(addresses(before)["m:latest-optimized"]) & set(addresses(after)["m:latest-optimized"]) >= {11434}
        assert addresses(after)["m:latest-optimized"][0] == 11434
