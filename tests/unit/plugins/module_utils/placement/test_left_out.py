# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why a plan does not use a GPU."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.left_out import LeftAlone, LeftOutGpu

CORDON = LeftAlone("cordon", "1", "it is cordoned")


@pytest.mark.parametrize(
    "out, cause, reason",
    [
        (LeftOutGpu("GPU-1", "it is unusable"), "fault", "it is unusable"),
        (LeftOutGpu("GPU-1", None, selected=False), "selectors", "it is not selected"),
        (LeftOutGpu("GPU-1", "it is unusable", selected=False), "selectors", "it is unusable"),
        (LeftOutGpu("GPU-1", None, selected=False, alone=CORDON), "cordon", "it is cordoned"),
        (LeftOutGpu("GPU-1", "it is unusable", selected=False, alone=CORDON), "cordon", "it is cordoned"),
    ],
)
def test_the_user_comes_before_a_fault(out, cause, reason):
    assert (out.cause, out.reason) == (cause, reason)
