# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the kernel has logged since the boot: faults of GPUs, and processes that it ended for lack of memory."""

from __future__ import annotations

from typing import List, Optional

from .command import ask

_SECONDS = 60
#: Words of the lines that are read; the log of a boot may have very many others. journalctl heeds the case of letters
#: where the pattern has capitals.
_WORDS = "NVRM|[Oo]ut of memory"
_MOST_LINES = 2000


def kernel_lines() -> Optional[List[str]]:
    """Return the last lines of this boot that concern GPUs or memory; None where the kernel's log cannot be read."""
    command = ["journalctl", "--dmesg", "--output=cat", "--no-pager", "--quiet", "--grep=" + _WORDS]
    try:
        status, text, complaints = ask(command, timeout=_SECONDS)
    except OSError:
        return None
    # journalctl ends with 1 where no line matches.
    if status not in (0, 1) or complaints.strip():
        return None
    return text.splitlines()[-_MOST_LINES:]
