# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs a server sees and uses."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import visible

from tests.unit.plugins.module_utils.diagnose.builders import A, B, host, inventory, server


@pytest.mark.parametrize(
    "variable, seen", [(None, [A, B]), (B, [B]), ("1,0", [B, A]), ("-1", []), ("GPU-x,%s" % A, []), ("", [])]
)
def test_what_cuda_shows(variable, seen):
    made = server({"CUDA_VISIBLE_DEVICES": variable})
    assert [gpu["uuid"] for gpu in visible.visible(made, host())] == seen


def test_what_a_release_uses():
    evidence = host(inventory=inventory(first={"compute_capability": "3.7"}))
    assert [gpu["uuid"] for gpu in visible.usable(server(), evidence)] == [B]
    evidence = host(inventory=inventory(first={"health": {"state": "unusable", "reasons": []}}))
    assert [gpu["uuid"] for gpu in visible.usable(server(), evidence)] == [B]


def test_a_release_that_is_not_known_refuses_nothing():
    assert visible.release(server(version=None)) is None and visible.release(server(version="0.0.x")) is None
    assert len(visible.usable(server(version=None), host())) == 2
