# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A diagnosis while a benchmark measures an untouched Ollama, for which the instances are stopped. Pure."""

from __future__ import annotations

import dataclasses

from ..common import paths
from .shapes import HostEvidence, Server

#: What is said of a host on which a benchmark runs.
SENTENCE = (
    "A benchmark runs: the instances of the plan are stopped, and %s serves in their place. They were not diagnosed "
    "and not compared with the plan. Diagnose the host again when the benchmark has ended." % paths.UNTOUCHED_UNIT
)


def runs(evidence: HostEvidence) -> bool:
    """Return whether a benchmark measures an untouched Ollama on the host."""
    return any(_is_untouched(server) for server in evidence.servers)


def judged(evidence: HostEvidence) -> HostEvidence:
    """Return the evidence without what a benchmark has changed for a while: its own server, and the instances that are
    stopped for it."""
    if not runs(evidence):
        return evidence
    left = [one for one in evidence.servers if not _is_untouched(one) and (one.pid or one.planned is None)]
    names = {server.name for server in left}
    answers = tuple(one for one in evidence.answers if one.server in names)
    return dataclasses.replace(evidence, servers=tuple(left), answers=answers, proof=None)


def _is_untouched(server: Server) -> bool:
    return server.name == paths.UNTOUCHED_UNIT and bool(server.pid)
