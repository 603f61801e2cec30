# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Options in the argument list of a process. Pure."""

from __future__ import annotations

from typing import Optional, Sequence

#: What names the model of an engine.
MODEL = "--model"


def is_engine(words: Sequence[str]) -> bool:
    """Return whether an argument list is that of a process that serves one model, as all releases start it."""
    return option(words, MODEL) is not None


def option(words: Sequence[str], *flags: str) -> Optional[str]:
    """Return the word after the last of these flags in an argument list, None without one.

    Of an option that is given several times, llama-server and Go's flags take the last.

    Args:
        words: the arguments.
        flags: the names of one option.
    """
    pairs = list(zip(words, words[1:]))
    return next((value for flag, value in reversed(pairs) if flag in flags), None)
