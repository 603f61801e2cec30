# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Known faults by version."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import faults


def test_known_faults_belong_to_their_versions():
    names = {
        version: [fault["name"] for fault in faults.known_faults(version)]
        for version in ((0, 11, 4), (0, 12, 10), (0, 13, 5), (0, 24, 0), (0, 32, 15))
    }
    assert names[(0, 11, 4)] == ["context_not_clamped", "num_gpu_takes_all_gpus"]
    assert "endless_search" in names[(0, 12, 10)]
    assert "wrap_around" in names[(0, 13, 5)]
    assert names[(0, 24, 0)] == ["endless_search", "projector_not_counted"]
    assert names[(0, 32, 15)] == ["one_gpu_engines_not_seen"]
    assert all(fault["text"] and fault["remedy"] for version in names for fault in faults.known_faults(version))
