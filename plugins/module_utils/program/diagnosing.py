# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command `diagnose`: what explains that a host is slow, uses one GPU or none, or answers wrongly."""

from __future__ import annotations

from ..common.libraries import LibraryMissing
from ..diagnose import diagnosis
from ..diagnose.collect import collect
from ..diagnose.shapes import CERTAIN, LIKELY, POSSIBLE
from .shapes import CANNOT, DIFFERS, ERROR, FINE, INFO, NOT_PROVEN, WARNING, Answer, Line, Places, Refused

_LEVELS = {CERTAIN: ERROR, LIKELY: WARNING, POSSIBLE: INFO}


def diagnose(places: Places, seconds: float, asks: bool) -> Answer:
    """Return what is wrong with this host. Nothing is changed or loaded, and no plan is needed.

    Args:
        places: of the host.
        seconds: how long the GPUs are watched.
        asks: whether to ask each loaded model one question.

    Raises:
        Refused: the servers of the host cannot be asked.
    """
    try:
        evidence = collect(seconds, places.plan, asks)
    except LibraryMissing as missing:
        raise Refused(CANNOT, str(missing))
    found = diagnosis.findings(evidence)
    levels = [_LEVELS[one.confidence] for one in found] + [INFO]
    lines = [Line(text) for text in diagnosis.looked_at(evidence)] + [Line("")]
    lines += [Line(text, level) for text, level in zip(diagnosis.lines(evidence, found), levels)]
    sure = any(one.confidence in (CERTAIN, LIKELY) for one in found)
    return Answer(DIFFERS if sure else NOT_PROVEN if found else FINE, lines, diagnosis.as_data(evidence, found))
