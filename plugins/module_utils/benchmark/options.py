# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The options of the modules that measure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .figures import Wanted

_LIMITS = {
    "repeats": (1, 100),
    "tokens": (1, 4096),
    "loads": (0, 100),
    "quiet_timeout": (0, 86400),
    "outage_limit": (10, 86400),
}
#: Seconds for which the instances may be stopped.
OUTAGE_LIMIT = 1800
_LONGEST_PROMPT = 1000 * 1000


def measuring_options() -> dict[str, Any]:
    """Return the argument spec of what is measured, with the plan."""
    return {
        "plan": {"type": "dict", "required": True, "no_log": True},
        "repeats": {"type": "int", "default": 3},
        "tokens": {"type": "int", "default": 64, "no_log": False},
        "prompts": {"type": "list", "elements": "int", "default": [32, 512]},
        "loads": {"type": "int", "default": 1},
        "quiet_timeout": {"type": "float", "default": 60.0},
        "lock_timeout": {"type": "int", "default": 900},
    }


def problem(options: Mapping[str, Any]) -> Optional[str]:
    """Return which option has a value that cannot be measured with, None where all can."""
    for name, (least, most) in _LIMITS.items():
        if not least <= options.get(name, least) <= most:
            return "%s is %g: give a number from %d to %d." % (name, options[name], least, most)
    wrong = [words for words in options["prompts"] if not 1 <= words <= _LONGEST_PROMPT]
    if wrong:
        return "prompts has %d: give numbers from 1 to %d." % (wrong[0], _LONGEST_PROMPT)
    return None


def wanted(options: Mapping[str, Any]) -> Wanted:
    """Return what checked options ask for."""
    return Wanted(
        repeats=options["repeats"],
        tokens=options["tokens"],
        prompts=tuple(options["prompts"]),
        loads=options["loads"],
        quiet_timeout=options["quiet_timeout"],
    )


def locked(error: Exception) -> str:
    """Return what is said where another process holds the lock of the host.

    Args:
        error: a sentence about it.
    """
    return "%s Nothing was measured: wait until it has ended, and run the benchmark again." % error
