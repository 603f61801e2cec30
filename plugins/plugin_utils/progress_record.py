# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host says of how far its models are (module_utils/host/progress_file.py), and when a line of it is due. Pure.

A host may say anything.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName, parse

#: A model gets a further line when it has advanced by so much, or after so many seconds.
STEP = 10  # percent
SECONDS = 30.0
_MOST_MODELS = 1000
_LARGEST = 2**63


def content(text: str) -> tuple[int, bool, dict[str, dict[str, Any]]]:
    """Return (pid, finished, {name: entry}) of a record; 0, False and {} for what it is not.

    Names and values of the entries are not checked.

    Args:
        text: from the host.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    found = found if isinstance(found, dict) else {}
    models = found.get("models") if isinstance(found.get("models"), dict) else {}
    pid = found.get("pid")
    entries = {name: entry for name, entry in list(models.items())[:_MOST_MODELS] if isinstance(entry, dict)}
    return pid if is_size(pid) else 0, found.get("finished") is True, entries


def is_name(name: str) -> bool:
    """Return whether a text is the name of a model."""
    try:
        parse(name)
    except InvalidName:
        return False
    return True


def is_size(value: Any) -> bool:
    """Return whether a value can be a number of bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
