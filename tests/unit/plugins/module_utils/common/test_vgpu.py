# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which vGPU profiles have no CUDA."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.vgpu import series_without_cuda


@pytest.mark.parametrize(
    "name, series",
    [
        ("NVIDIA A16-4B", "B"),
        ("GRID P40-1B4", "B"),
        ("GRID RTX6000-8A", "A"),
        ("NVIDIA A16-16Q", None),
        ("NVIDIA A100-40C", None),
        ("NVIDIA A100-1-5CME", None),
        ("NVIDIA RTX A6000", None),
        ("NVIDIA A100-SXM4-40GB", None),
        ("", None),
        (None, None),
    ],
)
def test_series(name, series):
    assert series_without_cuda(name) == series
