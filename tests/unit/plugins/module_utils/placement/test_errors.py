# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError


def test_a_message_has_no_credentials():
    assert str(PlacementError("X is 'http://user:word@host/', which is wrong")) == (
        "X is 'http://***@host/', which is wrong"
    )
