# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Changes by kind."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.schema import Change, Changes


def test_changes_of_one_kind_keep_their_order():
    found = Changes(
        (Change("write", "file", "b", "r."), Change("stop", "instance", "x", "r."), Change("write", "file", "a", "r."))
    )
    assert [change.what for change in found.of("write", "file")] == ["b", "a"] and found.of("write", "plan") == []
