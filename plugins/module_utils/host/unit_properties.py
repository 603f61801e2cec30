# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What properties of a unit say, as `systemd.show` returns them. Pure."""

from __future__ import annotations

from typing import Mapping


def main_pid(properties: Mapping[str, str]) -> int:
    """Return the main process of a unit, 0 where it has none or that is not known (systemd writes 0, or nothing).

    Args:
        properties: of the unit.
    """
    return int(properties.get("MainPID") or 0)
