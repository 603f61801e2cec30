# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs CUDA shows."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.visible_devices import shown

TWO = ["GPU-aa", "GPU-ab"]
DIVIDED = ["GPU-aa", "MIG-bb", "MIG-cc"]


@pytest.mark.parametrize(
    "uuids, text, found",
    [
        (TWO, None, [(0, "0"), (1, "1")]),
        (TWO, "1, 0", [(1, "1"), (0, "0")]),
        (TWO, "GPU-ab,7,0", [(1, "GPU-ab")]),
        (TWO, "GPU-a", []),
        (TWO, "GPU-ab,1,0", [(1, "GPU-ab")]),
        (TWO, "-1", []),
        (TWO, "", []),
        (TWO, "aa", []),
        ([None, "GPU-ab"], "0,GPU-ab", [(0, "0"), (1, "GPU-ab")]),
        (DIVIDED, None, [(1, "0")]),
        (DIVIDED, "MIG-cc,MIG-bb", [(2, "MIG-cc")]),
        (DIVIDED, "GPU-aa,MIG-bb", [(1, "MIG-bb")]),
        (DIVIDED, "GPU-aa", [(0, "GPU-aa")]),
        (DIVIDED, "1", [(1, "1")]),
    ],
)
def test_what_is_shown(uuids, text, found):
    assert shown(uuids, text) == found
