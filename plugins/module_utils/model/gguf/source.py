# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read the facts of a model from a registry (by ranges), a server (/api/show), a store or a file.

Every `from_` function returns (model, bytes_read): the facts of `facts.model_facts` with name, source, digest,
size_bytes and file_bytes, and how many bytes were read for them over the network or from the disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from typing import Any, BinaryIO, Callable

from ...common.names import normalise_digest, parse
from ...common.regular import open_regular
from ...ollama import manifest as media
from ...ollama.client import OllamaClient, OllamaError
from ...ollama.parameters import MAX_LAYER_BYTES, of_show
from ...ollama.registry import Registry
from ...ollama.store import Store
from ...ollama.target import find
from .cache import Cache
from .extent import check_complete, check_extent
from .facts import model_facts
from .header import Header, HeaderError, read_header
from .manifest_facts import CHUNK, MAX_PARTS, Reads, SourceError, adapter, draft, in_words, manifest_facts, noted
from .parts import merge
from .show import files_with_headers, needs_arrays, show_header

FURTHER_CHUNK = 2 * 1000 * 1000  # further ones are smaller, so that little is read beyond the header
# Of a model's headers (parts, projectors, adapters), and again of its draft model's; real ones have up to 12 MiB.
NETWORK_LIMIT = 16 * 1024 * 1024
FILE_LIMIT = 64 * 1024 * 1024  # the same from a disk
MAX_READS = 100  # of a header over the network: a server could send it a few bytes at a time
_FILE_CHUNK = 1024 * 1024
_SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf\Z")


class Tally:
    """Reads a file from its start and counts the bytes.

    Args:
        get: get(offset, size) returns bytes of the file.
        chunk: how many bytes to get at a time (fewer after the first 8 MB).
        end: size of the file, beyond which nothing is asked for.
        reads: the most calls of `get`; None for any number.
    """

    def __init__(
        self, get: Callable[[int, int], bytes], chunk: int, end: int | None = None, reads: int | None = None
    ) -> None:
        self._get = get
        self._reads = reads
        self._chunk = chunk
        self._end = end
        self.bytes_read = 0

    def read(self, size: int) -> bytes:
        """Return at least `size` of the next bytes, except at the end."""
        want = max(size, self._chunk if self.bytes_read < 2 * CHUNK else min(self._chunk, FURTHER_CHUNK))
        if self._end is not None:
            want = min(want, self._end - self.bytes_read)
        if want <= 0:
            return b""
        if self._reads is not None:
            if self._reads <= 0:
                raise HeaderError(
                    "the server sends the GGUF header in pieces too small to read it; try another registry"
                )
            self._reads -= 1
        part = self._get(self.bytes_read, want)
        self.bytes_read += len(part)
        return part


def file_header(path: str, limit: int = FILE_LIMIT, opened: BinaryIO | None = None) -> tuple[Header, int]:
    """Return (header, bytes read) of a GGUF file.

    Args:
        path: of the file.
        limit: the most bytes to read.
        opened: the file, where it is open already; it is closed.

    Raises:
        SourceError: the file cannot be read.
        HeaderError: it is no GGUF file, damaged, or ends before its tensors do; the text begins with the path.
    """
    try:
        with opened or open_regular(path) as stream:
            tally = Tally(lambda _offset, size: stream.read(size), _FILE_CHUNK)
            header = read_header(tally.read, limit)
            check_complete(header, os.fstat(stream.fileno()).st_size)
            return header, tally.bytes_read
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise SourceError("%s is not a regular file, so it is no GGUF model" % path)
        raise SourceError("cannot read the model file %s: %s" % (path, error.strerror or error))
    except HeaderError as error:
        raise HeaderError("%s: %s" % (path, error))
    except ValueError:
        raise SourceError("%r is no path of a file" % path)


class _Files:
    """Reads the headers of several files, with one limit for all of them."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self._left = FILE_LIMIT

    def header(self, path: str, opened: BinaryIO | None = None) -> Header:
        """Return the header of the next file; see `file_header`."""
        header, bytes_read = file_header(path, self._left, opened)
        self.bytes_read += bytes_read
        self._left -= header.size_bytes
        return header


def from_file(path: str, name: str | None = None) -> tuple[dict[str, Any], int]:
    """Return (model, bytes_read) of a GGUF file, and of the other parts of a split one (`-00001-of-00003.gguf`).

    Args:
        path: of the file, or of one of its parts.
        name: of the model; the file's name without it.

    Raises:
        SourceError: a file cannot be read.
        HeaderError: a file is no GGUF file, or damaged.
    """
    paths = _split_paths(path)
    files = _Files()
    read: list[dict[str, Any]] = []
    facts = model_facts(merge((noted(files.header(part), read) for part in paths), len(paths)))
    facts["headers"] = read
    try:
        size = sum(os.path.getsize(part) for part in paths)
    except OSError as error:
        raise SourceError("cannot read the model file %s: %s" % (path, error.strerror or error))
    return model_of(name or os.path.basename(path), "file", None, size, size, facts), files.bytes_read


def _split_paths(path: str) -> list[str]:
    """Return the paths of all parts of a split model, or just this one."""
    match = _SPLIT_NAME.match(path)
    if not match:
        return [path]
    count = int(match.group(3))
    if count > MAX_PARTS:
        raise SourceError(
            "%s claims to be one of %d parts, but no model has more than %d; rename the file" % (path, count, MAX_PARTS)
        )
    paths = ["%s-%05d-of-%s.gguf" % (match.group(1), number, match.group(3)) for number in range(1, count + 1)]
    missing = [part for part in paths if not os.path.exists(part)]
    if missing and os.path.exists(path):
        raise SourceError("the part %s of the split model is missing" % missing[0])
    return paths if not missing else [path]


def from_store(store: Store, name: str) -> tuple[dict[str, Any], int]:
    """Return (model, bytes_read) of a model in a store.

    Raises:
        SourceError: the store does not have the model, or not as GGUF.
        HeaderError: its file is damaged.
        StoreError: the store cannot be read.
    """
    manifest = store.pulled(parse(name))  # an instance may serve another model under that name
    no_store = store.no_store() if manifest is None else ""
    if no_store:
        raise SourceError(
            "the store %s %s; give the models directory of an Ollama (with the directories manifests and blobs), or "
            "use source: registry" % (store.path, no_store)
        )
    if manifest is None:
        raise SourceError("the store %s has no model %s; pull it, or use source: registry" % (store.path, parse(name)))
    files = _Files()

    def header(layer: media.Layer, _chunk: int) -> Header:
        return files.header(store.blob_path(layer.digest), store.open_blob(layer))

    facts = manifest_facts(manifest, Reads(header, lambda layer: store.small_blob(layer, MAX_LAYER_BYTES)), name)
    return _of_manifest(name, "store", manifest, facts), files.bytes_read


def from_registry(registry: Registry, name: str, cache: Cache, refresh: bool = False) -> tuple[dict[str, Any], int]:
    """Return (model, bytes_read) of a model in a registry, from its manifest and ranges of its header.

    Args:
        registry: of the model.
        name: of the model.
        cache: keeps the facts by registry, digests and sizes.
        refresh: read the header again although the cache has it, and replace what it has.

    Raises:
        RegistryError: the registry has no usable answer.
        SourceError: the model is not in the GGUF format.
        HeaderError: its header is damaged, or does not belong to a file of the size in the manifest.
    """
    manifest = registry.manifest()
    reads = Reads(_RegistryHeaders(registry, name).header, lambda layer: _small_blob(registry, layer, name))
    # The bytes of a header are not checked against the digest: what one registry serves says nothing about another.
    key = [registry.address]
    config = [manifest.config] if manifest.config else []
    for layer in manifest.with_headers() + manifest.of_type(media.PARAMETERS) + config:
        key += [layer.media_type, layer.digest, str(layer.size_bytes)]
    facts = cache.fetch(key, lambda: manifest_facts(manifest, reads, name), refresh=refresh)
    return _of_manifest(name, "registry", manifest, facts), registry.bytes_read


class _RegistryHeaders:
    """Reads the headers of a model's layers from a registry, a draft model's with a limit of its own."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._name = name
        self._left = {False: NETWORK_LIMIT, True: NETWORK_LIMIT}

    def header(self, layer: media.Layer, chunk: int) -> Header:
        """Return the header of a layer; `chunk` bytes are asked for at a time."""
        is_draft = layer.media_type == media.DRAFT
        left = self._left[is_draft]
        tally = Tally(
            lambda offset, size: self._registry.blob_range(layer.digest, offset, size, layer.size_bytes),
            chunk,
            min(layer.size_bytes, left),
            MAX_READS,
        )
        try:
            found = read_header(tally.read, left)
            check_extent(found, layer.size_bytes)
            return found
        except HeaderError as error:
            raise HeaderError("%s from %s: %s" % (in_words(layer, self._name), self._registry.host, error))
        finally:
            self._left[is_draft] -= tally.bytes_read


def _small_blob(registry: Registry, layer: media.Layer, name: str) -> bytes:
    """Return the bytes of a layer that is read as a whole, and so can be compared with its digest.

    Raises:
        RegistryError: the registry has no usable answer.
        SourceError: it serves other bytes.
    """
    content = registry.blob_range(layer.digest, 0, layer.size_bytes, layer.size_bytes) if layer.size_bytes else b""
    if "sha256:" + hashlib.sha256(content).hexdigest() != layer.digest:
        raise SourceError(
            "%s from %s are not those of the digest %s; inform its owner, or set a mirror with registry"
            % (in_words(layer, name), registry.host, layer.digest[:19])
        )
    return content


def _of_manifest(name: str, source: str, manifest: media.Manifest, facts: dict[str, Any]) -> dict[str, Any]:
    file_bytes = sum(layer.size_bytes for layer in manifest.of_type(media.MODEL))
    return model_of(str(parse(name)), source, manifest.digest, manifest.size_bytes(), file_bytes, facts)


def from_server(client: OllamaClient, name: str) -> tuple[dict[str, Any], int]:
    """Return (model, bytes read here) of a model on a running server.

    Raises:
        SourceError: the server does not have the model, or an adapter or draft model that cannot be read here.
        HeaderError: its answer is malformed.
        OllamaError: the server answers with another error, or not at all.
    """
    wanted = parse(name)
    entry = find(client.tags(), wanted)
    if entry is None:
        raise SourceError("the server at %s has no model %s; pull it, or use source: registry" % (client.url, wanted))
    try:
        show = client.show(str(wanted))
        if needs_arrays(show):
            show = client.show(str(wanted), verbose=True)
    except OllamaError as error:
        if error.status == 404:
            raise SourceError("the server at %s lists %s but does not have it" % (client.url, wanted))
        raise
    size = entry.get("size")
    file_bytes = _server_file_bytes(show, size)
    header = show_header(show)
    try:
        if isinstance(file_bytes, int):
            check_complete(header, file_bytes)
        facts = model_facts(header)
    except HeaderError as error:
        raise HeaderError("%s on the server at %s: %s" % (wanted, client.url, error))
    projector = show.get("projector_info")
    if projector and not facts["projector_bytes"]:
        facts["projector_separate"] = True
        facts["projector_bytes"] = None  # /api/show says that there is one, but not its size
    facts["capabilities"] = sorted(show.get("capabilities") or facts["capabilities"])
    facts["headers"] = None
    facts["parameters"] = of_show(show.get("parameters")) or None
    bytes_read = _add_files(facts, show, str(wanted), client.url)
    digest = normalise_digest(entry.get("digest"))
    return model_of(str(wanted), "server", digest, size, file_bytes, facts), bytes_read


def _add_files(facts: dict[str, Any], show: dict[str, Any], name: str, url: str) -> int:
    """Add the adapters and the draft model of a model on a server to its facts: their files are read on this host.

    Returns:
        Bytes read.

    Raises:
        SourceError: a file cannot be read here, so that what it needs is not known.
        HeaderError: a file is damaged.
    """
    files = _Files()
    facts.update(adapters=[], draft=None, own_file=None)
    for media_type, path, digest in files_with_headers(show):
        layer = media.Layer(media_type, digest or "", 0)
        what = in_words(layer, name)
        try:
            if digest is None:
                raise SourceError("%s is no blob of a store" % path)
            header = files.header(path)
            layer = media.Layer(media_type, digest, os.stat(path).st_size)
        except (OSError, SourceError) as error:
            raise SourceError(
                "the server at %s does not say how large %s is, and its file cannot be read here (%s); "
                "use source: registry, or source: store on its host" % (url, what, error)
            )
        if media_type == media.DRAFT:
            facts["draft"] = draft(layer, header, name)
        else:
            facts["adapters"].append(adapter(layer, header, facts, name))
    return files.bytes_read


def _server_file_bytes(show: dict[str, Any], size: int | None) -> int | None:
    """Return the size of the GGUF file, or that of the whole model (some KiB more) where the file is not accessible."""
    match = re.search(r"^FROM (/\S+)$", show.get("modelfile") or "", re.MULTILINE)
    try:
        return os.stat(match.group(1)).st_size if match else size
    except OSError:
        return size


def model_of(
    name: str, source: str, digest: str | None, size_bytes: int | None, file_bytes: int | None, facts: dict[str, Any]
) -> dict[str, Any]:
    """Return the facts of a model with what is known of it as a whole."""
    about = dict(name=name, source=source, digest=digest, size_bytes=size_bytes, file_bytes=file_bytes)
    return {"parameters": None, "adapters": [], "draft": None, "own_file": None, **facts, **about}
