# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Device nodes that a service cannot open."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan

from tests.unit.plugins.module_utils.evidence.builders import GIB, MIB, A, B, findings, observations, plan


def with_closed_nodes(**options):
    seen = observations(**options)
    seen.instances["gpu0-1"].closed_nodes = {"/dev/nvidia-uvm": "it is not there"}
    return check_plan(plan(), seen)


def test_closed_device_nodes_are_named_first_where_gpus_are_missed():
    """What is proven needs no cause."""
    assert findings(with_closed_nodes()) == []
    found = with_closed_nodes(held={A: 65 * GIB, B: 300 * MIB})
    assert findings(found) == ["gpu_not_seen", "one_gpu_carries_all"]
    assert "cannot open /dev/nvidia-uvm: it is not there" in found.diagnosis[0].evidence
    assert "ollama_multigpu_sandbox to moderate" in found.diagnosis[0].remedy
    assert findings(with_closed_nodes(died="it ended", stayed=None)) == ["gpu_not_seen", "engine_died"]
