# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Release archives: their names, the checksums that are known, and the oldest release that may be installed. Pure."""

from __future__ import annotations

import posixpath
import re

#: Machine architectures (uname -m) and the names that the archives have for them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SUMS = "sha256sum.txt"
#: The releases that can be installed without a checksum of the user's; the README has them as a table, with those whose
#: rules were checked (release.py, is_checked). 0.32.15 is the default, because it is the newest of those.
#: SHA-256 of upstream's ollama-linux-<architecture>.tar.zst. Sources, with how many of them agree on an entry:
#: * 0.32: chromebrew/chromebrew, packages/ollama.rb (1). It has no archive of arm64: there the release's own
#:   sha256sum.txt is used.
#: * from 0.33: pinned independently of each other in public repositories (formulae, installers, container files, read
#:   2026-10); the number stands behind each hash. No two disagreed.
CHECKSUMS = {
    "0.35.1": {
        "amd64": "9fcd79ac4575b2bd31b992eee18b1000c8ad126b451627c8f8cd091714cfbb10",  # 9 public repositories
        "arm64": "b1b1c85d25136b256d3740f6ecd2f7c0105e8ca71642fd6ff2fc199f3cefd69d",  # 2 public repositories
    },
    "0.35.0": {
        "amd64": "1c114a6b220c5efca2ef2b1e5f01d1e535e26f6cd6d1678c8489325d2835e525",  # 2 public repositories
        "arm64": "cb627d332b1fe5055bd5485ca10d595da8429e447648209e375390ec3bd09374",  # 1 public repository
    },
    "0.34.4": {
        "amd64": "c238986e61d40c0cc5f4a9b9e40b9eea104350b77efa34741fc134e105cb9533",  # 10 public repositories
        "arm64": "96f50a1192133028cf4e010d8c333f8af14b1505db6be7b2034c11487e7fd7e6",  # 9 public repositories
    },
    "0.33.3": {
        "amd64": "c13cea8f3389db4145f8a6cb88d1747242a48639d7c13e3bda7c1ebdc6eebb2f",  # 4 public repositories
        "arm64": "4425a112af999ae6572c1ce211fbabeaca7bab23ed5860972acdfc0cc2358420",  # 1 public repository
    },
    "0.32.15": {
        "amd64": "50539c5fe9bf85887733355098dcdb266b433cb8c73fa180713417e9ed6e42bb",  # chromebrew
        "arm64": _SUMS,
    },
    "0.32.14": {
        "amd64": "c620917a71e146ab3a7f893084f066069c4c65d144ef8379a91c3cbe8b27de8f",  # chromebrew
        "arm64": _SUMS,
    },
    "0.32.13": {
        "amd64": "0fd1dece38a1c6242e8013ce20b597345c5de072ae6b320160edb0e729ef1de1",  # chromebrew
        "arm64": _SUMS,
    },
    "0.32.10": {
        "amd64": "5d2c3b7bd2945474ef6fb910cccad6f682a7a64f5227869e52ddc634e527ea2f",  # chromebrew
        "arm64": _SUMS,
    },
}
#: {architecture: (bytes of an archive, bytes of what is in it)} that a release has at least. Source: ollama/ollama pull
#: request 13651: the archives had 1.1 and 1.2 GB as .tar.zst, and 1.9 and 2.0 GB as .tar.gz; later ones have more in
#: them.
LEAST_BYTES = {"amd64": (1100 * 1000**2, 1900 * 1000**2), "arm64": (1200 * 1000**2, 2000 * 1000**2)}
#: Older releases let anyone who reaches the API read the server's memory or crash it, or take a blob without a check.
OLDEST_ALLOWED = "0.32.10"
OLDEST_ALLOWED_REASON = (
    "CVE-2026-7482 (memory of the server leaks through /api/create and /api/push, fixed in 0.17.1), the unbounded "
    "allocation in the model header's parser (fixed in 0.31.2), and blobs that are not verified where the config and a "
    "layer of a manifest share a digest (fixed in 0.32.10)"
)
_SHA256 = re.compile(r"(sha256:)?[0-9a-fA-F]{64}\Z")
_PLAIN_HTTP = "http://"


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


def is_sha256(text: str) -> bool:
    """Whether a checksum is the hash itself, with or without "sha256:" before it, and not an address."""
    return _SHA256.match(text) is not None


def sha256_of(text: str) -> str | None:
    """Return the hash in a checksum, in lower case; None for an address."""
    return re.sub(r"\Asha256:", "", text).lower() if is_sha256(text) else None


def is_plain_http(url: str) -> bool:
    """Whether what an address answers can be changed on its way."""
    return url.lower().startswith(_PLAIN_HTTP)


def is_pinned(version: str, given: str) -> bool:
    """Whether the hash of an archive can be known without asking the place that the archive comes from.

    Args:
        version: the release. A hash of one architecture is enough: `checksum` is an address for the others.
        given: the checksum that the user gave, "" for nothing.
    """
    return is_sha256(given) if given else any(map(is_sha256, CHECKSUMS.get(version, {}).values()))


def allowed(version: str) -> bool:
    """Whether a release has none of the holes for which releases are refused; a release candidate comes before its
    release."""
    return _order(version) >= _order(OLDEST_ALLOWED)


def _order(version: str) -> tuple[int, ...]:
    number, unused, candidate = version.partition("-rc")
    return tuple(int(part) for part in number.split(".")) + ((int(candidate),) if candidate else (10**6,))
