# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Open a file below a directory that others may write.

A FIFO in the place of a file would hold its reader for ever, and a device may do anything. Whoever owns the directory
can exchange a file after it was looked at, so it is the open file that is looked at.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import BinaryIO

_CHUNK = 1024 * 1024


def open_regular(path: str, follow: bool = True) -> BinaryIO:
    """Return a regular file, open for reading and without a buffer.

    Args:
        path: of the file.
        follow: whether `path` may be a link.

    Raises:
        OSError: it cannot be opened, or is a directory, FIFO, device or socket.
        ValueError: it is no path.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str, limit: int = -1, follow: bool = True) -> bytes:
    """Return the bytes of a regular file, at most `limit` of them; see `open_regular`."""
    with open_regular(path, follow) as stream:
        if limit < 0:
            return stream.read()
        parts = []
        while limit > 0:
            part = stream.read(limit)
            if not part:
                break
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)


def sha256_of(stream: BinaryIO) -> str:
    """Return the SHA-256, in hexadecimal digits, of what is left to read of a stream.

    Raises:
        OSError: it cannot be read.
    """
    sha256 = hashlib.sha256()
    for part in iter(lambda: stream.read(_CHUNK), b""):
        sha256.update(part)
    return sha256.hexdigest()
