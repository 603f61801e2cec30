# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read the facts of a GGUF file of the user, on this machine or behind an address: of a model, with the digest that it
has as one (ollama/own_file.py), or of an adapter."""

from __future__ import annotations

import os
from typing import Any

from ...common.names import normalise_digest
from ...common.regular import open_regular, sha256_of
from ...ollama.file_address import FileAtAddress
from ...ollama.own_file import OwnFile, parameters_in_words
from .adapter import read_adapter
from .cache import Cache
from .extent import check_extent
from .facts import model_facts
from .header import Header, HeaderError, read_header
from .manifest_facts import CHUNK, SMALL_CHUNK, SourceError, noted
from .source import MAX_READS, NETWORK_LIMIT, Tally, file_header, from_file, model_of


def from_own_file(path: str, name: str, sha256: str | None, cache: Cache) -> tuple[dict[str, Any], int]:
    """Return (model, bytes_read) of a file on this machine.

    Args:
        path: of the file.
        name: of the model.
        sha256: of the file; None = it is computed, and kept as long as size and time of the file stay.
        cache: keeps it.

    Raises:
        SourceError: the file cannot be read, or is no model in one file.
        HeaderError: it is no GGUF file, or damaged.
        InvalidName: `sha256` is none.
    """
    model, bytes_read = from_file(path, name)
    if (model.get("split_count") or 1) > 1:
        raise _split(path)
    digest = normalise_digest(sha256) if sha256 else _digest(path, cache)
    return _with_digest(model, digest, path), bytes_read


def from_address(address: FileAtAddress, name: str, sha256: str, cache: Cache) -> tuple[dict[str, Any], int]:
    """Return (model, bytes_read) of a file behind an address, from ranges of its header.

    Args:
        address: of the file.
        name: of the model.
        sha256: of the file, which is compared once the file is on a host.
        cache: keeps the facts by address, hash and size.

    Raises:
        AddressError: there is no usable answer.
        SourceError: it is no model in one file.
        HeaderError: it is no GGUF file, damaged, or of another size.
        InvalidName: `sha256` is none.
    """
    digest, size = normalise_digest(sha256), address.size()

    def compute() -> dict[str, Any]:
        read: list[dict[str, Any]] = []
        facts = model_facts(noted(_header_at(address, size, CHUNK), read))
        facts["headers"] = read
        return facts

    facts = cache.fetch(["address", address.url, digest, str(size)], compute)
    if (facts.get("split_count") or 1) > 1:
        raise _split(address.url)
    return _with_digest(model_of(name, "address", None, size, size, facts), digest, address.url), address.bytes_read


def adapter_from_file(path: str, sha256: str | None, cache: Cache) -> tuple[dict[str, Any], int]:
    """Return (adapter, bytes_read) of a LoRA adapter on this machine: what `adapter.read_adapter` returns, with sha256
    and size_bytes.

    Args:
        path: of the file.
        sha256: that it must have; None for any.
        cache: keeps its SHA-256 as long as size and time of the file stay.

    Raises:
        SourceError: the file cannot be read, is no adapter, or has another SHA-256.
        HeaderError: it is no GGUF file, or damaged.
        InvalidName: `sha256` is none.
    """
    wanted = normalise_digest(sha256) if sha256 else None
    header, bytes_read = file_header(path)
    found = _adapter(header, path)
    digest = _digest(path, cache)
    if wanted not in (None, digest):
        raise SourceError(
            "the adapter %s has the SHA-256 %s, not %s: correct sha256, or take the file that it is of"
            % (path, digest[len("sha256:") :], str(wanted)[len("sha256:") :])
        )
    return dict(found, sha256=digest[len("sha256:") :], size_bytes=os.path.getsize(path)), bytes_read


def adapter_from_address(address: FileAtAddress, sha256: str, cache: Cache) -> tuple[dict[str, Any], int]:
    """Return (adapter, bytes_read) of a LoRA adapter behind an address, from ranges of its header; see
    `adapter_from_file`.

    Args:
        address: of the file.
        sha256: of the file, which is compared once the file is on a host.
        cache: keeps the facts by address, hash and size.

    Raises:
        AddressError: there is no usable answer.
        SourceError: it is no adapter.
        HeaderError: it is no GGUF file, damaged, or of another size.
        InvalidName: `sha256` is none.
    """
    digest, size = normalise_digest(sha256), address.size()

    def compute() -> dict[str, Any]:
        return _adapter(_header_at(address, size, SMALL_CHUNK), address.url)

    facts = cache.fetch(["adapter", address.url, digest, str(size)], compute)
    return dict(facts, sha256=digest[len("sha256:") :], size_bytes=size), address.bytes_read


def _header_at(address: FileAtAddress, size: int, chunk: int) -> Header:
    """Return the header of a file behind an address; `chunk` bytes are asked for at a time."""
    tally = Tally(address.range, chunk, min(size, NETWORK_LIMIT), MAX_READS)
    try:
        header = read_header(tally.read, NETWORK_LIMIT)
        check_extent(header, size)
    except HeaderError as error:
        raise HeaderError("%s: %s" % (address.url, error))
    return header


def _adapter(header: Header, where: str) -> dict[str, Any]:
    """Return what the header of an adapter says.

    Source: llama.cpp src/llama-adapter.cpp, `llama_adapter_lora_init_impl`; of another type, Ollama would take the file
    for a model (server/create.go, ggufLayersWithMediaType).
    """
    for key, wanted in (("general.type", "adapter"), ("adapter.type", "lora")):
        found = header.keys.get(key)
        if found != wanted:
            raise SourceError(
                "%s is no LoRA adapter (its %s is %s, not %s): give a GGUF file that convert_lora_to_gguf.py of "
                "llama.cpp has written" % (where, key, "%.80r" % found if found is not None else "not set", wanted)
            )
    try:
        return read_adapter(header)
    except HeaderError as error:
        raise HeaderError("%s: %s" % (where, error))


def _with_digest(model: dict[str, Any], digest: str, where: str) -> dict[str, Any]:
    """Add what the manifest of the file says to the facts."""
    if model.get("architecture") == "clip" or not model.get("block_count"):
        raise SourceError(
            "%s is a projector or an adapter, and no model: a model of your own is one file that has its layers, "
            "without a projector in a file of its own" % where
        )
    own = OwnFile(
        "file",
        where,
        digest[len("sha256:") :],
        model["file_bytes"],
        model["architecture"],
        parameters_in_words(model.get("parameter_count")),
        model.get("quantization") or "",
    )
    told = own.told()
    manifest = own.manifest()
    known = {key: told[key] for key in ("sha256", "size_bytes", "architecture", "model_type", "file_type")}
    return dict(model, digest=manifest.digest, size_bytes=manifest.size_bytes(), own_file=known)


def _split(where: str) -> SourceError:
    return SourceError(
        "%s is one of several files of a split model, and a model of your own is one file: join them with "
        "llama-gguf-split --merge" % where
    )


def _digest(path: str, cache: Cache) -> str:
    """The SHA-256 of a file, which is computed once for its size and time of change."""
    try:
        status = os.stat(path)
        key = ["file", os.path.realpath(path), str(status.st_size), str(status.st_mtime_ns), str(status.st_ino)]
        return cache.fetch(key, lambda: {"sha256": _hash(path)})["sha256"]
    except OSError as error:
        raise SourceError("cannot read the model file %s: %s" % (path, error.strerror or error))


def _hash(path: str) -> str:
    with open_regular(path) as stream:
        return "sha256:" + sha256_of(stream)
