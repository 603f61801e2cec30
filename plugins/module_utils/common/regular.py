# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Open a file below a directory that others may write.

A FIFO in the place of a file would hold its reader for ever, and a device may do anything. Whoever owns the directory
can exchange a file after it was looked at, so it is the open file that is looked at.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO


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
