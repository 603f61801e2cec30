# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Values that a host may have made up, in the types and lengths that a report takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import without_credentials

#: Of a sentence, and of a name.
LONGEST_TEXT, LONGEST_NAME = 1000, 200
#: Entries of one list that are taken.
MOST_ENTRIES = 200
_LARGEST = 2**63
#: What is less is nothing: with it, a quotient may become 0, of which there is no logarithm.
_LEAST = 1e-300


def text(value: Any, longest: int = LONGEST_TEXT) -> str:
    """Return a value as one line of printed characters without passwords in addresses; "" for None."""
    if value is None:
        return ""
    whole = without_credentials(printable(str(value)[: 4 * longest]))
    return whole if len(whole) <= longest else whole[: longest - 1] + "…"


def name(value: Any) -> str:
    """Return a value as `text`, in the length of a name."""
    return text(value, LONGEST_NAME)


def whole(value: Any) -> Optional[int]:
    """Return a whole number that is not negative; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
        return None
    return value


def number(value: Any) -> Optional[float]:
    """Return a number that is not negative, and 0 for one that is next to it; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_LEAST < value < _LARGEST:
        return None
    return float(value) if value >= _LEAST else 0.0


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping; {} for everything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings in a list."""
    return [one for one in entries(value) if isinstance(one, Mapping)]


def entries(value: Any) -> list[Any]:
    """Return the entries of a list, not more than a report takes."""
    return list(value[:MOST_ENTRIES]) if isinstance(value, (list, tuple)) else []
