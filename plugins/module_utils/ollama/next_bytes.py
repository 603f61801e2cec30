# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read the body of an answer in portions of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable


def next_bytes(parts: Iterator[bytes], skipped: int = 0) -> Callable[[int], bytes]:
    """Return a function that returns at most so many of the next bytes, b"" at the end.

    Args:
        parts: of the body, as they come.
        skipped: how many bytes at the beginning are left out.
    """
    kept = bytearray()

    def read(count: int) -> bytes:
        while not kept:
            part = next(parts, b"")
            if not part:
                break
            kept.extend(part)
        found = bytes(kept[:count])
        del kept[:count]
        return found

    while skipped > 0:
        part = read(skipped)
        if not part:
            break
        skipped -= len(part)
    return read
