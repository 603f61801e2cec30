# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Give the records of interrupted downloads what a server that was killed had no time to write down.

Ollama downloads a blob in parts into one file of the blob's size with holes, `sha256-<hex>-partial`, each part from its
beginning to its end. What a part has is kept in memory and written into `sha256-<hex>-partial-<number>` only when its
request ends (server/download.go, downloadChunk). After a SIGKILL or a power cut the bytes are on the disk and a record
says that nothing is: the next server would fetch up to 16 GB again. A record that was cut makes each later pull fail
(readPart), and where some were removed already, the file would be cut to the parts that are left (run, Prepare).

So before a server starts, each record is written as the holes of the file say. Ollama compares the digest of a blob
when all parts are there, whatever the records say.

Functions here run as the user that the store belongs to, while no server uses it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .store_directory import BLOBS, MAX_ENTRIES, OpenStore, status_of

# server/download.go: numDownloadParts, minDownloadPartSize, maxDownloadPartSize. The same from 0.5 to 0.32.
_PARTS = 16
_SMALLEST_PART = 100 * 1000 * 1000
_LARGEST_PART = 1000 * 1000 * 1000
#: Most bytes of a record.
_MOST_RECORD = 4096
#: What is left out at the end of the bytes that are on the disk: a block that is written in part, and the body of an
#: error answer, which Ollama writes into the file before it begins the part anew.
_DOUBTFUL_BYTES = 64 * 1024
_PARTIAL = re.compile(r"(sha256-[0-9a-f]{64}-partial)(?:-([0-9]{1,6}))?\Z")
_DRAFT = "-repaired"
_NEW = os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Part:
    """A part of a download as its record has it: `completed` bytes from `offset` on are there."""

    number: int
    offset: int
    size: int
    completed: int = 0


def repair(path: str) -> int:
    """Write the records of all interrupted downloads of a store as the files say.

    Args:
        path: of the store, which need not exist.

    Returns:
        How many bytes the next server need not fetch again.

    Raises:
        StoreError: the store cannot be read.
    """
    store = OpenStore.at(path, follow=False)
    if store is None:
        return 0
    with store, store.directory(BLOBS) as blobs:
        if blobs is None:
            return 0
        names = [name for name, status in store.entries(_is_file, [MAX_ENTRIES], BLOBS)]
        files = sorted({match.group(1) for match in map(_PARTIAL.match, names) if match})
        for draft in (name for name in names if name.endswith(_DRAFT)):
            os.unlink(draft, dir_fd=blobs)
        holes = bool(files) and _knows_holes(blobs)
        return sum(_repair(blobs, file, names, holes) for file in files)


def parts_of(total: int) -> list[Part]:
    """Return the parts in which Ollama downloads a blob of `total` bytes (server/download.go, Prepare)."""
    size = min(max(total // _PARTS, _SMALLEST_PART), _LARGEST_PART)
    return [Part(number, offset, min(size, total - offset)) for number, offset in enumerate(range(0, total, size))]


def _is_file(_path: str, status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode)


def _repair(blobs: int, file: str, names: list[str], holes: bool) -> int:
    """Repair the records of one download; see `repair`. `holes`: whether the file system tells where they are."""
    numbers = {name: int(match[2]) for name in names for match in [_PARTIAL.match(name)] if match and match[2]}
    read = {name: _read(blobs, name, number) for name, number in numbers.items() if name.startswith(file + "-")}
    records = sorted((part for part in read.values() if part), key=lambda part: part.number)
    found = status_of(file, blobs)
    total = found.st_size if found is not None else 0
    whole = len(records) == len(read) and _covers(records, total)
    parts = records if whole or not total else _with_completed(parts_of(total), records)
    if not whole:
        for name in read:
            if not total or numbers[name] >= len(parts):
                os.unlink(name, dir_fd=blobs)
    if not total:
        return 0
    gained = 0
    with _opened(blobs, file) as descriptor:
        for part in parts:
            there = max(part.completed, _on_disk(descriptor, part) if holes else 0)
            if not whole or there != part.completed:
                gained += there - part.completed
                _write(blobs, "%s-%d" % (file, part.number), replace(part, completed=there))
    return gained


def _with_completed(parts: list[Part], records: list[Part]) -> list[Part]:
    """Return parts with what the records of the same parts say."""
    known = {(record.number, record.offset, record.size): record.completed for record in records}
    return [
        replace(part, completed=min(part.size, known.get((part.number, part.offset, part.size), 0))) for part in parts
    ]


def _covers(parts: list[Part], total: int) -> bool:
    """Whether parts have the numbers from 0 on and follow each other from the beginning of a file to its end."""
    end = 0
    for number, part in enumerate(parts):
        if (part.number, part.offset) != (number, end) or not 0 <= part.completed <= part.size:
            return False
        end += part.size
    return end == total


def _on_disk(descriptor: int, part: Part) -> int:
    """Return how many bytes of a part are in the file for certain: those before the first hole, less the doubtful."""
    begin, end = part.offset + part.completed, part.offset + part.size
    if begin >= end:
        return part.completed
    try:
        if os.lseek(descriptor, begin, os.SEEK_DATA) != begin:
            return 0
        hole = os.lseek(descriptor, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EINVAL):  # no data from there on, or no such question
            return 0
        raise
    return max(0, min(hole, end) - _DOUBTFUL_BYTES - part.offset)


def _knows_holes(blobs: int) -> bool:
    """Whether the file system tells what was never written from what was. Some fill a file with zeros, others say that
    all of it is data."""
    probe = os.open("probe" + _DRAFT, os.O_RDWR | _NEW, 0o600, dir_fd=blobs)
    try:
        os.ftruncate(probe, _DOUBTFUL_BYTES)
        os.fsync(probe)
        return os.lseek(probe, 0, os.SEEK_HOLE) == 0
    except OSError:
        return False
    finally:
        os.close(probe)
        os.unlink("probe" + _DRAFT, dir_fd=blobs)


def _read(blobs: int, name: str, number: int) -> Part | None:
    """Return the part of a record, None where it is no valid one."""
    try:
        with _opened(blobs, name) as descriptor:
            content = json.loads(os.read(descriptor, _MOST_RECORD).decode("utf-8"))
        values = [content[key] for key in ("N", "Offset", "Size", "Completed")]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 0 for value in values):
        return None
    return Part(*values) if values[0] == number else None


@contextlib.contextmanager
def _opened(blobs: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=blobs)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(blobs: int, name: str, part: Part) -> None:
    """Write a record as Ollama does, by a rename."""
    with os.fdopen(os.open(name + _DRAFT, os.O_WRONLY | _NEW, 0o644, dir_fd=blobs), "w") as stream:
        content = {"N": part.number, "Offset": part.offset, "Size": part.size, "Completed": part.completed}
        stream.write(json.dumps(content, separators=(",", ":")) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(name + _DRAFT, name, src_dir_fd=blobs, dst_dir_fd=blobs)
