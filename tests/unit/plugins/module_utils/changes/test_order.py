# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The order in which changes are made."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import order
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.schema import Change


def test_every_kind_has_a_place_in_the_order():
    pairs = [Change(kind, target, "x", "y.") for kind, target in order.ORDER]
    assert list(order.ordered(list(reversed(pairs)))) == pairs
