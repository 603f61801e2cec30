# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""JSON files of the collection on a host."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

from ..common.regular import read_regular


def read_object(path: str) -> Optional[Dict[str, Any]]:
    """Return the object in a JSON file; None where the file is missing, cut or no object: it was never finished."""
    try:
        content = json.loads(read_regular(path).decode("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
