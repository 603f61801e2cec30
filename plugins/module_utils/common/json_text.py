# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The text of a JSON file of the collection. Pure."""

from __future__ import annotations

import json
from typing import Any


def json_text(content: Any) -> str:
    """Return the text of a JSON file as Ansible's to_nice_json writes it."""
    return json.dumps(content, indent=4, sort_keys=True, separators=(",", ": ")) + "\n"
