# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the last check on the host itself has found; the program of the host writes it."""

from __future__ import annotations

from typing import Dict, Optional

from .json_file import read_object


def last_check(path: str) -> Optional[Dict[str, str]]:
    """Return {verdict, time} of the last check; None where there was none.

    Args:
        path: of the file that the program writes (paths.VERDICT).
    """
    kept = read_object(path) or {}
    verdict, time = kept.get("verdict"), kept.get("time")
    return {"verdict": verdict, "time": time} if isinstance(verdict, str) and isinstance(time, str) else None
