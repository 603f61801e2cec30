# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the model files in a store begin with the headers that a plan was made from.

The bytes of a header from a registry are checked against nothing before the pull. After it, Ollama has compared each
file with its digest, and its header is what the engine will read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Iterable, Mapping

from ..common.names import Name
from .manifest import Layer
from .store import Store, StoreError
from .target import ModelError

MAX_BYTES = 64 * 1024 * 1024  # of a header; real ones have up to 12 MiB
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class PlannedHeader:
    """A header that a plan was made from: its size, and the SHA-256 of its bytes in hexadecimal."""

    size_bytes: int
    sha256: str


def planned_headers(given: Iterable[Mapping[str, Any]] | None) -> tuple[PlannedHeader, ...] | None:
    """Return the headers that an option lists; None where it is not given.

    Raises:
        ModelError: One has no possible size.
    """
    found = tuple(PlannedHeader(one["header_bytes"], str(one["header_sha256"]).lower()) for one in given or ())
    for header in found:
        if not 0 < header.size_bytes <= MAX_BYTES:
            raise ModelError(
                "a header of %d bytes in headers is impossible; give what model_info returned" % header.size_bytes
            )
    return found or None


def differs(store: Store, name: Name, planned: tuple[PlannedHeader, ...]) -> bool | None:
    """Return whether the files of a model have other headers than the plan was made from.

    Args:
        store: The store, in which root reads what belongs to another user.
        name: The model.
        planned: In the order of Manifest.with_headers.

    Returns:
        None where the store does not have the model.

    Raises:
        StoreError: The store cannot be read.
    """
    manifest = store.pulled(name)
    if manifest is None:
        return None
    layers = manifest.with_headers()
    return len(layers) != len(planned) or any(
        _sha256(store, layer, header.size_bytes) != header.sha256 for layer, header in zip(layers, planned)
    )


def _sha256(store: Store, layer: Layer, size: int) -> str:
    """Return the SHA-256 of the first bytes of a blob, of all where it has fewer. Raises StoreError."""
    checksum = hashlib.sha256()
    try:
        with store.open_blob(layer) as stream:
            while size > 0:
                part = stream.read(min(size, _CHUNK))
                if not part:
                    break
                checksum.update(part)
                size -= len(part)
    except OSError as error:
        raise StoreError("cannot read the blob %s of the store %s: %s" % (layer.digest[:19], store.path, error))
    return checksum.hexdigest()
