# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Options in the argument list of a process. Pure."""

from __future__ import annotations

from typing import Optional, Sequence


def option(words: Sequence[str], flag: str) -> Optional[str]:
    """Return the word after a flag in an argument list, None without it."""
    listed = list(words)
    return listed[listed.index(flag) + 1] if flag in listed[:-1] else None
