# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the shapes work out of their fields."""

from __future__ import annotations

from tests.unit.plugins.module_utils.placement.builders import GIB, gpu, placed


def test_the_shortfall_is_what_is_missing_with_the_headroom_kept():
    found = placed((gpu(0), 20 * GIB, 22 * GIB), (gpu(1), 21 * GIB, 21 * GIB), headroom_bytes=3 * GIB)
    assert found.predicted.shortfall() == (3 - 2) * GIB + 3 * GIB
    assert found.predicted.shortfall(allowance=2 * GIB) == GIB
    assert found.predicted.total_bytes == 41 * GIB
    assert [device.spare_bytes for device in found.predicted.devices] == [2 * GIB, 0]


def test_a_placement_knows_its_gpus_and_layers():
    found = placed((gpu(3), GIB, GIB), (gpu(5), GIB, GIB))
    assert found.uuids == ("GPU-3", "GPU-5") and [one.number for one in found.gpus] == [3, 5]
    assert found.tensor_split is None and found.on_gpus_only
    assert placed((gpu(3), GIB, GIB), (gpu(5), GIB, GIB), split_is_set=True).tensor_split == (4, 4)
