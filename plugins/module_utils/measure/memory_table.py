# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read the table of memory that llama-server prints in its dry run. Pure.

Source: llama.cpp `common_memory_breakdown_print`; recorded in ollama-0.32.15-loading.json. A row looks like
`|   - CUDA0 (A) | 49140 = 48000 + (40000 = 39000 + 500 + 500) + 0 |`, in MiB.
"""

from __future__ import annotations

import dataclasses
import re

from ..common.sizes import MIB

#: The device of the last row: the host's memory.
HOST = "Host"

_HEAD = re.compile(r"\| memory breakdown \[MiB\]")
_ROW = re.compile(r"\|\s+- (?P<device>\w+)\b.*?\|(?P<cells>[^|]*)\|\s*$")
_SELF = re.compile(r"(?P<self>\d+)\s*=\s*(?P<model>\d+)\s*\+\s*(?P<context>\d+)\s*\+\s*(?P<compute>\d+)")


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
    """What the engine expects to use on one device, in bytes (whole MiB).

    `draft_bytes` is what it expects for what proposes tokens, `draft_compute_bytes` the compute buffer of that alone;
    the weights of the model's own heads are in `weight_bytes`.
    """

    total_bytes: int
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int
    draft_bytes: int = 0
    draft_compute_bytes: int = 0

    def with_draft(self, draft: DeviceMemory, own_weights: bool) -> DeviceMemory:
        """Return the memory with that of the second table, which is of what proposes tokens.

        Args:
            draft: of the same device.
            own_weights: whether it is a model of its own; else the table has the weights of the model again.
        """
        size = draft.kv_bytes + draft.compute_bytes + (draft.weight_bytes if own_weights else 0)
        return dataclasses.replace(self, draft_bytes=size, draft_compute_bytes=draft.compute_bytes)


def is_head(line: str) -> bool:
    """Return whether a line of the log is the head of the table."""
    return bool(_HEAD.search(line))


def row(line: str) -> tuple[str, DeviceMemory | None] | None:
    """Return the device and the memory of a row of the table.

    Returns:
        (device, memory), with memory None where the row has no figures; None for a line that is no row.
    """
    found = _ROW.search(line)
    if not found:
        return None
    figures = _SELF.search(found.group("cells"))
    if not figures:
        return found.group("device"), None
    sizes = [int(figures.group(name)) * MIB for name in ("self", "model", "context", "compute")]
    return found.group("device"), DeviceMemory(*sizes)
