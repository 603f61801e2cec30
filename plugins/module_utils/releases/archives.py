# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Release archives: their names, the checksums that are known, and the oldest release that may be installed. Pure."""

from __future__ import annotations

import posixpath
import re

#: Machine architectures (uname -m) and the names that the archives have for them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SUMS = "sha256sum.txt"
#: SHA-256 of upstream's ollama-linux-amd64.tar.zst, as published by chromebrew/chromebrew (packages/ollama.rb). No
# package
#: collection publishes those of arm64: there the release's own sha256sum.txt is used.
CHECKSUMS = {
    "0.32.15": {"amd64": "50539c5fe9bf85887733355098dcdb266b433cb8c73fa180713417e9ed6e42bb", "arm64": _SUMS},
    "0.32.14": {"amd64": "c620917a71e146ab3a7f893084f066069c4c65d144ef8379a91c3cbe8b27de8f", "arm64": _SUMS},
    "0.32.13": {"amd64": "0fd1dece38a1c6242e8013ce20b597345c5de072ae6b320160edb0e729ef1de1", "arm64": _SUMS},
}
#: Older releases let anyone who reaches the API read the server's memory or crash it.
OLDEST_ALLOWED = "0.31.2"
OLDEST_ALLOWED_REASON = (
    "CVE-2026-7482 (memory of the server leaks through /api/create and /api/push, fixed in 0.17.1) and the unbounded "
    "allocation in the model header's parser (fixed in 0.31.2)"
)


def archive_name(architecture: str) -> str:
    """Return the name of a release's archive; `architecture` is the archive's name for it."""
    return "ollama-linux-%s.tar.zst" % architecture


def archive_url(release_url: str, architecture: str) -> str:
    """Return the address of a release's archive; `release_url` is the directory that holds it."""
    return "%s/%s" % (release_url.rstrip("/"), archive_name(architecture))


def checksum(version: str, architecture: str, given: str, url: str) -> str:
    """Return the SHA-256 of an archive or the address of a sha256sum.txt, "" where none is known.

    Args:
        version: the release.
        architecture: the archive's name for it.
        given: what the user gave, "" for nothing; it wins over what is known.
        url: the archive's address.
    """
    if given:
        return re.sub(r"\Asha256:", "", given)
    known = CHECKSUMS.get(version, {}).get(architecture, "")
    return posixpath.join(posixpath.dirname(url), _SUMS) if known == _SUMS else known


def allowed(version: str) -> bool:
    """Whether a release has none of the holes for which releases are refused; a release candidate comes before its
    release."""
    return _order(version) >= _order(OLDEST_ALLOWED)


def _order(version: str) -> tuple[int, ...]:
    number, unused, candidate = version.partition("-rc")
    return tuple(int(part) for part in number.split(".")) + ((int(candidate),) if candidate else (10**6,))
