# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which instance gets which port."""

from __future__ import annotations

import itertools

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.applied import Applied
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.ports import Serving, most_worth, ports_of
from hypothesis import given
from hypothesis import strategies as st

BASE = 11434


def applied(*instances, base_port=BASE):
    """The applied plan: (name, port, names of its models; "!" marks a first address)."""
    return Applied(
        {
            "base_port": base_port,
            "instances": [
                {
                    "name": name,
                    "port": port,
                    "models": [
                        {"create_as": model.strip("!") + "-optimized", "name": model.strip("!")}
                        | ({"first_address": True} if model.startswith("!") else {})
                        for model in models
                    ],
                }
                for name, port, *models in instances
            ],
        }
    )


def ports(before, *instances, base_port=BASE, suffix="-optimized"):
    """Ports less 11434 of instances: (name, names of its models)."""
    serving = [Serving(name, tuple((model + suffix, model) for model in models)) for name, *models in instances]
    return [port - BASE for port in ports_of(serving, before, base_port)]


def test_a_new_host_counts_from_the_base_port():
    assert ports(Applied(), ("gpu0", "a"), ("gpu1", "b")) == [0, 1]


def test_the_address_goes_with_the_model_to_other_gpus():
    before = applied(("gpu0", BASE, "a:1"))
    assert ports(before, ("gpu0", "b:1"), ("gpu1", "a:1")) == [1, 0]
    assert ports(before, ("gpu0-1", "a:1"), ("gpu2", "b:1")) == [0, 1]
    assert ports(before, ("gpu1", "a:1"), suffix="-large") == [0]


def test_the_address_of_an_alias_goes_to_the_model_that_gets_it():
    before = Applied(
        {
            "base_port": BASE,
            "instances": [
                {"name": "gpu0", "port": BASE, "models": [{"create_as": "x:1-o", "name": "x:1"}]},
                {"name": "gpu1", "port": BASE + 1, "models": [{"create_as": "a-o", "name": "a", "aliases": ["Chat"]}]},
            ],
        }
    )
    chat, other = Serving("gpu0", (("b-o", "b", "chat:latest"),)), Serving("gpu1", (("c-o", "c"),))
    assert ports_of([other, chat], before, BASE) == [BASE, BASE + 1]
    # A model that is still there keeps its own address.
    again = Serving("gpu1", (("a-o", "a"),))
    assert ports_of([chat, again], before, BASE) == [BASE, BASE + 1]
    # Of several replicas it is the first address that counts.
    old = {"create_as": "a-o", "name": "a", "aliases": ["chat"]}
    marked = {"name": "gpu1", "port": BASE + 1, "models": [dict(old, first_address=True)]}
    before = Applied({"base_port": BASE, "instances": [{"name": "gpu0", "port": BASE, "models": [old]}, marked]})
    assert ports_of([chat], before, BASE) == [BASE + 1]


def test_the_first_address_counts_more_than_the_name_of_an_instance():
    before = applied(("gpu0", BASE, "a"), ("gpu1", BASE + 1, "a"))
    assert ports(before, ("gpu1", "a")) == [0]
    # ... and it is the one that the plan marks, not the first of its instances.
    before = applied(("gpu0", BASE, "a"), ("gpu1", BASE + 1, "!a"))
    assert ports(before, ("gpu0", "a")) == [1]


def test_models_that_are_made_from_the_same_one_keep_their_own_addresses():
    made = [("gpu0", BASE, "m:1-a"), ("gpu1", BASE + 1, "m:1-b")]
    before = Applied(
        {
            "base_port": BASE,
            "instances": [
                {"name": name, "port": port, "models": [{"create_as": model, "name": "m:1"}]}
                for name, port, model in made
            ],
        }
    )
    turned = [Serving("gpu0", (("m:1-b", "m:1"),)), Serving("gpu1", (("m:1-a", "m:1"),))]
    assert ports_of(turned, before, BASE) == [BASE + 1, BASE]


def test_of_models_that_part_most_keep_the_address():
    before = applied(("gpu0", BASE, "a", "b", "c"))
    assert ports(before, ("gpu0", "a"), ("gpu0b", "b", "c")) == [1, 0]
    assert ports(before, ("gpu0", "a", "b"), ("gpu0b", "c")) == [0, 1]


def test_models_that_come_together_take_one_of_their_addresses():
    before = applied(("gpu0", BASE, "a"), ("gpu1", BASE + 1, "b"), ("gpu2", BASE + 2, "c"))
    assert ports(before, ("gpu0", "a", "b"), ("gpu1", "d"), ("gpu2", "c")) == [0, 1, 2]


def test_no_address_is_lost_to_one_that_has_another_choice():
    """a could have 0 or 1 in its two instances; b only 1."""
    before = applied(("gpu0", BASE, "!a"), ("gpu1", BASE + 1, "b"))
    assert ports(before, ("gpu0", "a", "b"), ("gpu1", "a")) == [1, 0]


def test_another_base_port_moves_all_of_them():
    before = applied(("gpu0", BASE + 1, "a"), ("gpu1", BASE, "b"))
    assert ports(before, ("gpu0", "a"), ("gpu1", "b")) == [1, 0]
    assert ports(before, ("gpu0", "a"), ("gpu1", "b"), base_port=BASE + 1) == [1, 2]


def test_ports_that_are_none_are_not_kept():
    before = applied(("gpu0", str(BASE + 1), "a"), ("gpu1", None, "b"), ("gpu2", BASE + 5000, "c"))
    assert ports(before, ("gpu0", "a"), ("gpu1", "b"), ("gpu2", "c")) == [0, 1, 2]


def best_sum(worth):
    """The greatest sum, by trying everything."""
    columns = list(range(len(worth[0]))) + [None] * len(worth)
    return max(
        sum(row[column] for row, column in zip(worth, taken) if column is not None)
        for taken in itertools.permutations(columns, len(worth))
    )


@given(
    st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 3), min_size=columns, max_size=columns), min_size=1, max_size=4
        )
    )
)
def test_the_sum_is_the_greatest(worth):
    columns = most_worth(worth)
    taken = [column for column in columns if column is not None]
    assert len(taken) == len(set(taken))
    assert sum(row[column] for row, column in zip(worth, columns) if column is not None) == best_sum(worth)
