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
    """Explain `consequence` with the memory that other processes have taken."""
    who = "; ".join(
        "%s and other processes outside the plan hold %s more of %s than when the plan was made"
        % (holder(growth.process), gib(growth.grown_bytes), growth.uuid)
        for growth in grown
    )
    pids = list(dict.fromkeys(str(growth.process["pid"]) for growth in grown))
    return Diagnosis(
        "foreign_process",
        "%s: %s" % (who, consequence),
        "Stop process %s, or run the role again so that the plan takes its memory into account." % ", ".join(pids),
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
