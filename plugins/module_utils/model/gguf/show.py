# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What an answer of /api/show says of a model's header and of its files. Pure."""

from __future__ import annotations

import re
from typing import Any

from ...ollama import manifest as media
from .header import MAX_TENSORS, Header, HeaderError, Tensor, check_shape
from .types import tensor_bytes

_KINDS = {"ADAPTER": media.ADAPTER, "DRAFT": media.DRAFT}
_BLOB = re.compile(r"/(?:.*/)?blobs/sha256-([0-9a-f]{64})\Z")
MAX_FILES = 256


def needs_arrays(show: dict[str, Any]) -> bool:
    """Return whether an array with a value per layer was left out.

    /api/show leaves out long arrays unless asked with `verbose`, which sends the whole vocabulary as well.
    """
    info = show.get("model_info") or {}
    return any(value is None and not key.startswith("tokenizer.") for key, value in info.items())


def show_header(show: dict[str, Any]) -> Header:
    """Return the header that an answer of /api/show describes. Raises HeaderError where it is malformed."""
    info = show.get("model_info")
    tensors = show.get("tensors")
    if not isinstance(info, dict) or not isinstance(tensors, list):
        raise HeaderError(
            "the server's answer to /api/show has no model_info or tensors; Ollama 0.5 and later give them"
        )
    lengths = dict((key, len(value)) for key, value in info.items() if isinstance(value, list))
    keys = dict((key, value) for key, value in info.items() if value is not None and not key.startswith("tokenizer."))
    if len(tensors) > MAX_TENSORS:
        raise HeaderError("the server's answer to /api/show has %d tensors; the model is damaged" % len(tensors))
    read = []
    for item in tensors:
        try:
            shape = [int(dimension) for dimension in item["shape"]]
            name, kind = str(item["name"]), str(item["type"])
        except (KeyError, OverflowError, TypeError, ValueError):
            raise HeaderError(
                "the server's answer to /api/show has a tensor without name, type or shape: %.80r" % (item,)
            )
        check_shape(name, shape)
        read.append(Tensor(name, shape, kind, tensor_bytes(shape, kind)))
    return Header(3, keys, lengths, read, 0)


def files_with_headers(show: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    """Return (media type, path, digest) of the adapters and of the draft model, which the answer does not describe.

    The Modelfile names the files in its first lines (server/images.go `Model.String`); the texts after them are the
    model's own and may say anything. The digest is None where the path is not that of a blob.
    """
    found: list[tuple[str, str, str | None]] = []
    for line in str(show.get("modelfile") or "").splitlines():
        word, _space, path = line.partition(" ")
        if not line or line.startswith("#") or word == "FROM":
            continue
        if word not in _KINDS or len(found) >= MAX_FILES:
            break
        match = _BLOB.match(path)
        found.append((_KINDS[word], path, "sha256:" + match.group(1) if match else None))
    return found
