# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files of the user's own: `source` of an entry says where the GGUF file of a model is. Pure."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional

from ...common import names
from ...common.secrets import shown_address
from ...model.schema import ModelFacts
from ...ollama.own_file import KINDS
from ..errors import PlacementError

_URL = re.compile(r"https?://[^\s/?#@]+/\S*\Z", re.IGNORECASE)


def check_source(entry: Mapping[str, Any]) -> Optional[tuple[str, str]]:
    """Return (kind, place) of the file of a model; None for a model of a registry.

    Args:
        entry: a model as placement_info and the role take it.

    Raises:
        PlacementError: `source` cannot be.
    """
    source, name = entry.get("source"), entry.get("name")
    if source is None:
        return None
    found = check_file(source, "source", "source of %s" % name)
    if entry.get("digest"):
        raise PlacementError(
            "%s has a source and a digest: the sha256 of its source is what pins it, so leave digest out." % name
        )
    return found


def check_file(source: Any, key: str, what: str) -> tuple[str, str]:
    """Return (kind, place) of a file of the user.

    Args:
        source: what says where it is.
        key: under which the user writes it.
        what: it is, for messages.

    Raises:
        PlacementError: it cannot be.
    """
    if not isinstance(source, Mapping):
        raise PlacementError(
            "%s is %.80r: give a mapping such as %s: {url: https://..., sha256: ...}." % (what, source, key)
        )
    given = [kind for kind in KINDS if source.get(kind)]
    if len(given) != 1:
        raise PlacementError("%s has %s: give one of %s." % (what, " and ".join(given) or "no file", ", ".join(KINDS)))
    kind = given[0]
    _check_hash(source, kind, what)
    where = str(source[kind])
    if kind == "url" and not _URL.match(where):
        raise PlacementError(
            "The url of %s is %r: give the http or https address of a GGUF file, without a user name and password."
            % (what, shown_address(where))
        )
    if kind == "host_file" and not where.startswith("/"):
        raise PlacementError("The host_file of %s is %r: give its whole path on the host." % (what, where))
    return kind, where


def _check_hash(source: Mapping[str, Any], kind: str, what: str) -> None:
    given = source.get("sha256")
    if not given and kind != "file":
        raise PlacementError(
            "%s has no sha256, which a %s needs: give the SHA-256 of the file (sha256sum FILE)." % (what, kind)
        )
    try:
        if given:
            names.normalise_digest(given)
    except names.InvalidName:
        raise PlacementError("The sha256 of %s is %.80r: give 64 hexadecimal digits." % (what, given))


def planned_source(entry: Mapping[str, Any], facts: ModelFacts) -> Optional[dict[str, Any]]:
    """Return the file of a model as a plan tells it (ollama/own_file.py); None for a model of a registry.

    Args:
        entry: a model as placement_info takes it.
        facts: of the model.

    Raises:
        PlacementError: `source` cannot be, or the facts are of another file.
    """
    found = check_source(entry)
    if found is None:
        return None
    own, sha256 = facts.own_file, (entry.get("source") or {}).get("sha256")
    if not own:
        raise PlacementError(
            "The facts of %s are not those of its file: read them with model_info, source file or address, and hash: "
            "true or sha256." % entry.get("name")
        )
    if sha256 and names.normalise_digest(sha256) != names.normalise_digest(own["sha256"]):
        raise PlacementError(
            "The facts of %s are of a file with the SHA-256 %s, not %s: read them again."
            % (entry.get("name"), own["sha256"], sha256)
        )
    return {"kind": found[0], "where": found[1], **own}
