# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Model names: host/namespace/model:tag, as types/model/name.go of that release reads them."""

from __future__ import annotations

import re
from collections import namedtuple

from .errors import ApiError

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
_PARTS = (
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
)


class Name(namedtuple("Name", "host namespace model tag")):
    """A complete name."""

    @property
    def shortest(self):
        """The name as lists show it: without the default host and namespace, always with the tag."""
        text = "%s:%s" % (self.model, self.tag)
        if self.host != HOST:
            return "%s/%s/%s" % (self.host, self.namespace, text)
        return text if self.namespace == NAMESPACE else "%s/%s" % (self.namespace, text)

    @property
    def full(self):
        """The name with all parts."""
        return "%s/%s/%s:%s" % self


def parse(text):
    """The Name for a text, with default parts. ApiError 400 `invalid model name` for a part that is not allowed."""
    rest, tag = text, TAG
    if rest.rfind(":") > rest.rfind("/"):
        rest, tag = rest.rsplit(":", 1)
    scheme = re.match(r"[a-z]+://", rest)
    if scheme:
        rest = rest[scheme.end() :]
    parts = rest.rsplit("/", 2)
    name = Name(*([HOST, NAMESPACE][: 3 - len(parts)] + parts + [tag]))
    if not all(pattern.fullmatch(part) for pattern, part in zip(_PARTS, name)):
        raise ApiError(400, "invalid model name")
    return name
