# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a plan says of addresses that clients use."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.moved_addresses import moved_addresses


def instances(*served, address="127.0.0.1"):
    """Instances: (port, names of its models)."""
    return [
        {"address": address, "port": port, "models": [{"create_as": name} for name in names]} for port, *names in served
    ]


def test_a_model_that_moves_and_what_is_there_instead():
    (told,) = moved_addresses(instances((11434, "a", "b")), instances((11434, "b"), (11435, "a")))
    assert told == (
        "a is served at http://127.0.0.1:11434 now and would be at http://127.0.0.1:11435 only, as b will be at the "
        "old address: point its clients to the new address."
    )
    (told,) = moved_addresses(instances((11434, "a")), instances((12000, "a")))
    assert "at http://127.0.0.1:12000 only: point" in told


def test_an_address_of_a_replica_that_is_gone():
    (told,) = moved_addresses(instances((11434, "a"), (11435, "a")), instances((11434, "a")))
    assert told.startswith("a is served at http://127.0.0.1:11435 now and would be at http://127.0.0.1:11434 only: ")


def test_an_alias_that_moves_with_the_model_that_gets_it():
    before, after = instances((11434, "a"), (11435, "b")), instances((11434, "a"), (11435, "b"))
    before[0]["models"][0]["aliases"] = after[1]["models"][0]["aliases"] = ["chat:latest"]
    (told,) = moved_addresses(before, after)
    assert told.startswith(
        "chat:latest is served at http://127.0.0.1:11434 now and would be at http://127.0.0.1:11435 only, as a will be"
    )


def test_the_plain_name_counts_where_the_optimized_model_gets_another_name():
    before, after = instances((11434, "a:latest-optimized")), instances((12000, "a:latest-fast"), (11434, "b"))
    before[0]["models"][0]["name"] = after[0]["models"][0]["name"] = "a"
    (told,) = moved_addresses(before, after)
    assert told.startswith(
        "a:latest is served at http://127.0.0.1:11434 now and would be at http://127.0.0.1:12000 only, as b will be"
    )
    after[0]["models"][0]["create_as"] = "a:latest-optimized"
    (told,) = moved_addresses(before, after)
    assert told.startswith("a:latest-optimized is served at")


def test_another_address_to_listen_on():
    before = instances((11434, "a"), address="127.0.0.1")
    assert moved_addresses(before, instances((11434, "a"), address="0.0.0.0")) == []
    (told,) = moved_addresses(before, instances((11434, "a"), address="::1"))
    assert "would be at http://[::1]:11434 only" in told
    (told,) = moved_addresses(instances((11434, "a"), address="0.0.0.0"), before)
    assert told.startswith("a is served at http://0.0.0.0:11434 now and would be at http://127.0.0.1:11434 only: ")


@pytest.mark.parametrize(
    "before, after",
    [
        ([], instances((11434, "a"))),
        (instances((11434, "a")), instances((11434, "a", "b"), (11435, "a"))),
        (instances((11434, "a")), instances((11435, "b"))),  # the user left the model out
        ([{"unit": "ollama@gpu0.service"}], instances((11434, "a"))),  # all that is known of a damaged plan
        ([{"address": "127.0.0.1", "port": 1, "models": [{"create_as": "a", "name": "no name"}]}], []),
        ([{"port": None, "models": [{"create_as": "a"}]}], instances((11434, "a"))),
    ],
)
def test_nothing_is_said_where_the_addresses_stay(before, after):
    assert moved_addresses(before, after) == []
