# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What names a GPU, and what names none anywhere."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask import selectors
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import hosts

FACTS = hosts.inventory(hosts.A6000, hosts.A6000)["gpus"]


@pytest.mark.parametrize(
    "selector", ["1", 1, " 1 ", FACTS[1]["uuid"], FACTS[1]["uuid"].lower(), "0000:02:00.0", "00000000:02:00.0"]
)
def test_index_uuid_and_pci_address(selector):
    assert selectors.select(FACTS, [selector]) == selectors.select(FACTS, selector) == [FACTS[1]["uuid"]]
    selectors.check_form(selector, "it")


def test_no_selector_is_all_and_an_empty_list_is_none():
    assert selectors.select(FACTS, None) == [fact["uuid"] for fact in FACTS] and selectors.select(FACTS, []) == []


@pytest.mark.parametrize("selector", ["2", "", None, "GPU-", "0001:02:00.0", "all"])
def test_a_selector_that_matches_nothing(selector):
    with pytest.raises(PlacementError, match="matches no GPU of this host; use the index.* 0 .*0000:01:00.0"):
        selectors.select(FACTS, [selector])


def test_a_gpu_without_address_or_index_is_not_named_by_nothing():
    bare = [{"uuid": "GPU-1", "index": None, "pci_bus_id": None}]
    assert [selectors.matches(bare, text) for text in ("", None, "0", "none")] == [[], [], [], []]


@pytest.mark.parametrize(
    "selector, words",
    [
        ("all", "give the index, UUID or PCI address"),
        ("-1", "give the index"),
        ("NVIDIA A100", "give the index"),
        (True, "give the index"),
        ({}, "give the index"),
        ("41:00.0", "give the index"),
        (2460.0, "put a PCI address in quotes"),
        ("60.0", "put a PCI address in quotes"),
    ],
)
def test_what_names_no_gpu_of_any_host(selector, words):
    with pytest.raises(PlacementError) as caught:
        selectors.check_form(selector, "gpu of entry 2 of cordon")
    assert str(caught.value).startswith("gpu of entry 2 of cordon is '") and words in str(caught.value)


def test_mig_devices_have_uuids_of_their_own():
    devices = [{"uuid": "MIG-1"}, {"uuid": "MIG-2"}]
    facts = [dict(FACTS[0], mig={"mode": "enabled", "devices": devices}), FACTS[1]]
    assert selectors.matches(facts, "mig-2") == [("MIG-2", facts[0])]
    assert selectors.select(facts, ["0"]) == [FACTS[0]["uuid"]]
    assert selectors.beginning_with(facts, "MIG-") == ["MIG-1", "MIG-2"]
