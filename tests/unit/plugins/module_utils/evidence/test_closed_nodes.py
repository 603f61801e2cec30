# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Device nodes that a service cannot open."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import observer
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import device_nodes

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
    for remedy in ("ollama_multigpu_devices", "ollama_multigpu_sandbox to moderate"):
        assert remedy in found.diagnosis[0].remedy
    assert findings(with_closed_nodes(died="it ended", stayed=None)) == ["gpu_not_seen", "engine_died"]


@pytest.mark.parametrize(
    ("uuids", "asked"), [(["GPU-1"], [["/dev/nvidia1"]]), (["MIG-1"], [["/dev/nvidia0"]]), (["GPU-9"], []), ([], [])]
)
def test_the_nodes_of_an_instance_are_those_of_its_gpus_and_mig_devices(monkeypatch, uuids, asked):
    found = []
    monkeypatch.setattr(device_nodes, "closed_nodes", lambda properties, nodes: found.append(nodes) or {})
    mig = {"devices": [{"uuid": "MIG-1", "gpu_instance_id": 1, "compute_instance_id": 0}]}
    gpus = [{"uuid": "GPU-0", "minor_number": 0, "mig": mig}, {"uuid": "GPU-1", "minor_number": 1}]
    one = observer.Observer({"url": "http://127.0.0.1:1", "models": [], "gpu_uuids": uuids}, 1.0, {})
    one.join_devices(gpus)
    assert found == asked
