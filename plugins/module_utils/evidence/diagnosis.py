# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the explanations of differences share: the shape of a finding, sentences about processes and claims. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ..common.sizes import gib
from ..gpu.holders import holder
from .comparison import Comparison
from .host_view import ForeignGrowth


class Diagnosis(NamedTuple):
    """A finding without the names of its instance and model."""

    finding: str
    evidence: str
    remedy: str


def foreign(grown: list[ForeignGrowth], consequence: str) -> Diagnosis:
    """Explain `consequence` with the memory that others have taken."""
    pids = list(dict.fromkeys(str(growth.process["pid"]) for growth in grown if growth.process))
    first = (
        "Stop process %s" % ", ".join(pids)
        if pids
        else "Look for processes of containers, and for memory that a crashed process has left (nvidia-smi; a reset of "
        "the GPU frees it)"
    )
    return Diagnosis(
        "foreign_process",
        "%s: %s" % ("; ".join(_who(growth) for growth in grown), consequence),
        "%s, or run the role again so that the plan takes its memory into account." % first,
    )


def _who(growth: ForeignGrowth) -> str:
    if not growth.process:
        return "the plan has %s less of %s than when it was made, and NVML lists no process that has taken it" % (
            gib(growth.grown_bytes),
            growth.uuid,
        )
    return "%s and other processes outside the plan hold %s more of %s than when the plan was made" % (
        holder(growth.process),
        gib(growth.grown_bytes),
        growth.uuid,
    )


def claims(comparison: Comparison) -> str:
    """Return what log and API claim to the contrary, so that a reader sees why they are not believed."""
    log, (size, vram) = comparison.observed.log, comparison.sizes_of_server()
    found = []
    if log and log.layers:
        found.append("its log says that %d/%d layers are on GPUs" % (log.layers, log.layers_total or 0))
    if size and size == vram:
        found.append("/api/ps says that size_vram equals size")
    return ", although " + " and ".join(found) if found else ""
