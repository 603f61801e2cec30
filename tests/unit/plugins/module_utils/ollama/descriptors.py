# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which files and directories this process has open."""

from __future__ import annotations

import contextlib
import os

PLACE = "/proc/self/fd"


def open_files() -> set[tuple[str, str]]:
    """Descriptor and path of each. Sockets and pipes are left out: servers of earlier tests may still close theirs."""
    found = set()
    for number in os.listdir(PLACE):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as the one of the listing
            found.add((number, os.readlink(os.path.join(PLACE, number))))
    return {(number, path) for number, path in found if path.startswith("/")}
