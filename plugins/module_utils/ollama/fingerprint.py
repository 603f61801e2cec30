# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The content of a model in a form that is short enough to travel and exact enough to be compared. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: Texts of a content (model_content.py) that may be long: licences have thousands of characters.
TEXTS = ("template", "system", "license", "messages")


def fingerprint(content: dict[str, Any]) -> dict[str, Any]:
    """Return a content, or a request, with a digest in place of each text; None stays None.

    Two contents are equal where their fingerprints are, and a request is merged over a fingerprint as over a content,
    but for licences, which add up.
    """
    return dict(content, **{name: text_digest(content[name]) for name in TEXTS})


def text_digest(text: Any) -> str | None:
    """Return the digest of a text or of a list of messages; an empty one has the empty text as its digest."""
    if text is None:
        return None
    return hashlib.sha256(json.dumps(text, sort_keys=True).encode("utf-8")).hexdigest() if text else ""
