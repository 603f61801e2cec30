# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory of a GPU as bars: where each part begins and how long it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import GpuReport, MemoryParts

#: {part: what people read}; the keys are those of colours.PARTS.
WORDS = {"weights": "weights", "kv": "KV cache", "compute": "compute", "models": "models", "others": "others"}
#: Percent of the width that a whole label needs on a phone, and a letter.
_FOR_LABEL, _FOR_LETTER = 34.0, 6.0


@dataclass(frozen=True)
class Segment:
    """A part of a bar: `start` and `length` in percent of the GPU's memory, and the text in it, which may be ""."""

    part: str
    start: float
    length: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A row of a drawing: "predicted" or "observed"."""

    row: str
    segments: list[Segment]


def bars(gpu: GpuReport) -> list[Bar]:
    """Return the bars of a GPU; [] where the size of its memory is not known."""
    rows = (("predicted", gpu.predicted), ("observed", gpu.observed))
    return [Bar(row, _segments(parts, gpu.total_bytes)) for row, parts in rows if parts and gpu.total_bytes]


def _segments(parts: MemoryParts, total: int) -> list[Segment]:
    found = []
    start = 0.0
    for part, size in _sizes(parts):
        length = min(100.0 * (size or 0) / total, 100.0 - start)
        if size and length > 0:
            found.append(Segment(part, round(start, 2), round(length, 2), _label(part, size, length)))
            start += length
    return found


def _sizes(parts: MemoryParts) -> list[tuple[str, Optional[int]]]:
    """The parts from left to right. Where it is not known what the models hold for what, they are one part."""
    split = [("weights", parts.weights_bytes), ("kv", parts.kv_bytes), ("compute", parts.compute_bytes)]
    if any(size is None for _part, size in split):
        split = [("models", parts.models_bytes)]
    return [*split, ("others", parts.others_bytes)]


def _label(part: str, size: int, length: float) -> str:
    if length >= _FOR_LABEL:
        return "%s %s" % (WORDS[part], gib(size))
    return WORDS[part][:1].upper() if length >= _FOR_LETTER else ""
