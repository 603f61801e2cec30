# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The order of GPUs."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.pci import in_pci_order


def test_gpus_are_sorted_by_their_address_whatever_its_letters_and_then_by_their_uuid():
    third = {"uuid": "GPU-a", "pci_bus_id": "0000:C1:00.0"}
    second = {"uuid": "GPU-b", "pci_bus_id": "0000:41:00.0"}
    first = {"uuid": "GPU-c", "pci_bus_id": "0000:0a:00.0"}
    assert in_pci_order([third, first, second]) == [first, second, third]
    fourth = {"uuid": "GPU-0", "pci_bus_id": "0000:c2:00.0"}
    assert in_pci_order([fourth, third]) == [third, fourth]
    nameless, other = {"uuid": "GPU-e", "pci_bus_id": None}, {"uuid": "GPU-d"}
    assert in_pci_order([second, nameless, other]) == [other, nameless, second]
