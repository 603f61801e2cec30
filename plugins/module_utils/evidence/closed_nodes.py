# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Device nodes that a service cannot open, as the cause of what its models miss. Pure."""

from __future__ import annotations

from typing import Mapping, Sequence

from ..common import paths
from .shapes import Finding

#: Findings of a model that does not find its GPUs.
_WITHOUT_GPUS = ("one_gpu_carries_all", "layers_on_cpu", "cpu_only", "far_from_predicted", "not_loaded", "engine_died")


def explain(name: str, unit: str, nodes: Mapping[str, str], others: Sequence[Finding]) -> list[Finding]:
    """Return the finding that comes before others on an instance which it may be the cause of; [] where it is none.

    Args:
        name: of the instance.
        unit: its service.
        nodes: the device nodes that it cannot open, with the reasons.
        others: the findings on the instance.
    """
    if not nodes or not any(one.finding in _WITHOUT_GPUS for one in others):
        return []
    return [
        Finding(
            "gpu_not_seen",
            "the service %s cannot open %s" % (unit, "; ".join("%s: %s" % one for one in nodes.items())),
            "Without its device nodes CUDA does not find a GPU. Remove drop-ins that close them (systemctl cat %s), "
            "make missing ones (systemctl restart %s), then restart the service. If the driver of the host needs other "
            "nodes, list them in ollama_multigpu_devices or set ollama_multigpu_sandbox to moderate."
            % (unit, paths.GPUS_UNIT),
            instance=name,
            model="",
        )
    ]
