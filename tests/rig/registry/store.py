# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the registry offers: a directory laid out as Ollama's own store, and for each fault a model of its name.

blobs/sha256-<hex>                        files, possibly sparse; never hashed
manifests/<namespace>/<model>/<tag>       JSON
releases/v<version>/<file>                sha256sum.txt is made where none lies there
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re

from tests.rig.registry.faults import FAULTS

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CHUNK = 1 << 20
_ZEROS = memoryview(bytes(CHUNK))


class Content:
    """Bytes to serve: in memory, or a file whose holes are sent without being read."""

    def __init__(self, source: bytes | pathlib.Path) -> None:
        self._source = source
        self.size = len(source) if isinstance(source, bytes) else source.stat().st_size

    def pieces(self, start: int, length: int):
        """Yield the bytes of [start, start + length) in pieces of at most 1 MiB."""
        if isinstance(self._source, bytes):
            yield memoryview(self._source)[start : start + length]
            return
        end = start + length
        with open(self._source, "rb", buffering=0) as stream:
            while start < end:
                data_start, data_end = _next_data(stream.fileno(), start, end)
                while start < data_start:
                    piece = _ZEROS[: min(CHUNK, data_start - start)]
                    yield piece
                    start += len(piece)
                while start < data_end:
                    piece = os.pread(stream.fileno(), min(CHUNK, data_end - start), start)
                    yield piece
                    start += len(piece)


def _next_data(descriptor: int, start: int, end: int) -> tuple[int, int]:
    """The first range of data in [start, end): (from, to); (end, end) if there is only a hole."""
    try:
        data = os.lseek(descriptor, start, os.SEEK_DATA)
    except OSError:  # ENXIO: no data behind start
        return end, end
    if data >= end:
        return end, end
    return data, min(end, os.lseek(descriptor, data, os.SEEK_HOLE))


class Store:
    """Finds manifests, blobs and release files. Names that lead out of the directory are not found."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._sums: dict[pathlib.Path, tuple[tuple, bytes]] = {}
        self._variants: dict[str, tuple[bytes, bytes]] = {}
        self._moved: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    def manifest(self, target: str, tag: str) -> bytes | None:
        """Manifest of 'namespace/model' and tag, or None."""
        variant = self._moved.get((target, tag)) or self._variant(target)
        if variant:
            return variant[0]
        return self._read("manifests", *target.split("/"), tag)

    def move(self, target: str, tag: str, mark: str) -> None:
        """Let a tag of 'namespace/model' name another model: the same with `mark` as its last bytes. "" moves it back.

        ValueError: there is no such tag, or a mark that is longer than 64 bytes.
        """
        if not mark:
            self._moved.pop((target, tag), None)
            return
        text = self._read("manifests", *target.split("/"), tag)
        if text is None or len(mark.encode()) > 64:
            raise ValueError(f"no tag {tag!r} of {target!r} to move, or a mark that is too long")
        self._moved[target, tag] = self._altered(text, mark.encode())

    def file(self, name: str) -> Content | None:
        """The model file of 'library/<model>:latest' as '<model>.gguf', or None."""
        manifest = self.manifest("library/" + name.removesuffix(".gguf"), "latest") if name.endswith(".gguf") else None
        if manifest is None:
            return None
        digests = [item["digest"] for item in json.loads(manifest)["layers"] if item["mediaType"].endswith(".model")]
        return self.blob("library/" + name.removesuffix(".gguf"), digests[0])

    def blob(self, target: str, digest: str) -> Content | None:
        """Content of a blob of that model, or None."""
        if not _DIGEST.fullmatch(digest):
            return None
        for variant in [self._variant(target), *(moved for key, moved in self._moved.items() if key[0] == target)]:
            if variant and "sha256:" + hashlib.sha256(variant[1]).hexdigest() == digest:
                return Content(variant[1])
        path = self._directory / "blobs" / digest.replace(":", "-")
        return Content(path) if path.is_file() else None

    def release(self, version: str, name: str) -> Content | None:
        """A release's file, or None."""
        if not (_PART.fullmatch(version) and _PART.fullmatch(name)):
            return None
        path = self._directory / "releases" / version / name
        if path.is_file():
            return Content(path)
        if name == "sha256sum.txt" and path.parent.is_dir():
            return Content(self._checksums(path.parent))
        return None

    def models(self) -> list[str]:
        """Names 'namespace/model:tag' of what is offered, without the faults' own."""
        root = self._directory / "manifests"
        return sorted("{}/{}:{}".format(*path.relative_to(root).parts) for path in root.glob("*/*/*") if path.is_file())

    def _read(self, *parts: str) -> bytes | None:
        if not all(_PART.fullmatch(part) for part in parts):
            return None
        with contextlib.suppress(OSError):
            return self._directory.joinpath(*parts).read_bytes()
        return None

    def _checksums(self, directory: pathlib.Path) -> bytes:
        """The checksums in the format of the release job: 'hex ./name', hashed once per state of the files."""
        files = sorted(path for path in directory.iterdir() if path.is_file())
        state = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
        if self._sums.get(directory, (None,))[0] != state:
            lines = []
            for path in files:
                with path.open("rb") as stream:
                    lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  ./{path.name}\n")
            self._sums[directory] = (state, "".join(lines).encode())
        return self._sums[directory][1]

    def _variant(self, target: str) -> tuple[bytes, bytes] | None:
        """(manifest, model blob) of 'library/f-<fault>': tiny with different last bytes, so that no other pull has its
        blob.
        """
        namespace, unused, name = target.partition("/")
        if namespace != "library" or not name.startswith("f-") or name[2:] not in FAULTS:
            return None
        if name not in self._variants:
            text = self._read("manifests", "library", "tiny", "latest")
            if text is None:
                return None
            self._variants[name] = self._altered(text, f"rig {name}".encode())
        return self._variants[name]

    def _altered(self, text: bytes, mark: bytes) -> tuple[bytes, bytes]:
        """(manifest, model blob) of a model whose file ends with these bytes."""
        manifest = json.loads(text)
        layer = next(item for item in manifest["layers"] if item["mediaType"].endswith(".model"))
        blob = (self._directory / "blobs" / layer["digest"].replace(":", "-")).read_bytes()[: -len(mark)] + mark
        layer.update(digest="sha256:" + hashlib.sha256(blob).hexdigest(), size=len(blob))
        return json.dumps(manifest).encode(), blob
