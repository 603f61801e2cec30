# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model file behind an address: its size, ranges of it, and the rest of it from a byte on.

The rules for redirects are those of a registry (redirects.py): never from https to http, and not from the internet into
a private network.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Callable

from ..common.libraries import import_requests
from ..common.secrets import without_credentials
from . import bounded
from .attempts import answered
from .connection import trusted
from .failed_requests import phrase
from .next_bytes import next_bytes
from .redirects import Hops, Refused
from .registry import USER_AGENT

_CHUNK = 65536
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)\Z")


class AddressError(Exception):
    """The address has no usable answer. The text is one sentence without its full stop."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class FileAtAddress:
    """A file behind an http or https address.

    Args:
        url: the address.
        timeout: seconds without a byte.

    Raises:
        LibraryMissing: requests is not installed.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        self.bytes_read = 0
        self._timeout = float(timeout)
        self._requests = import_requests()
        self._session = self._requests.Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self._session.verify = trusted()
        self._hops = Hops(self._requests, self._session, url.lower())

    def size(self) -> int:
        """Return the bytes of the file. Raises AddressError, also where the server does not say it."""

        def ask() -> int:
            response = self._get(0, 1)
            response.close()
            found = _RANGE.match(response.headers.get("Content-Range", ""))
            length = response.headers.get("Content-Length", "")
            if response.status_code == 206 and found:
                return int(found.group(2))
            if response.status_code == 200 and length.isdigit():
                return int(length)
            raise AddressError("the server does not say how large %s is; use another address" % self.url)

        return self._within(0, ask)

    def range(self, offset: int, size: int) -> bytes:
        """Return a range of the file; fewer bytes at its end. Raises AddressError."""

        def read() -> bytes:
            parts, left = [], size
            with self.reader(offset, size) as next_bytes:
                while left > 0:
                    part = next_bytes(left)
                    if not part:
                        break
                    parts.append(part)
                    left -= len(part)
            return b"".join(parts)

        return self._within(size, read)

    @contextlib.contextmanager
    def reader(self, offset: int, size: int | None = None) -> Iterator[Callable[[int], bytes]]:
        """Give a function that returns at most so many of the next bytes, from a byte of the file on; b"" at its end.

        Args:
            offset: of the first byte.
            size: how many bytes are asked for; None for all.

        Raises:
            AddressError: there is no usable answer, or the connection breaks.
        """
        response = self._get(offset, size)
        try:
            # A server that does not know ranges sends the whole file.
            yield next_bytes(self._parts(response), offset if response.status_code == 200 else 0)
        finally:
            response.close()

    def _parts(self, response: Any) -> Iterator[bytes]:
        try:
            for part in response.iter_content(_CHUNK):
                self.bytes_read += len(part)
                yield part
        except self._requests.exceptions.RequestException as error:
            raise AddressError("the connection broke in the middle of %s: %s" % (self.url, phrase(error)))

    def _get(self, offset: int, size: int | None) -> Any:
        end = "" if size is None else str(offset + size - 1)
        try:
            response = answered(
                lambda: self._hops.get(self.url, {"Range": "bytes=%d-%s" % (offset, end)}, self._timeout),
                self._requests.exceptions,
            )
        except Refused as error:
            raise AddressError("%s %s" % (self.url, error))
        except self._requests.exceptions.RequestException as error:
            raise AddressError("%s cannot be read: %s" % (self.url, phrase(error)))
        encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        stated = _RANGE.match(response.headers.get("Content-Range", ""))
        other = response.status_code == 206 and (stated is None or int(stated.group(1)) != offset)
        if response.status_code not in (200, 206) or encoded or other:
            response.close()
            problem = "another range than asked for" if other else "a compressed file" if encoded else ""
            raise AddressError("%s answers with %s" % (self.url, problem or "the status %d" % response.status_code))
        return response

    def _within(self, size: int, work: Callable[[], Any]) -> Any:
        limit = bounded.seconds_for(size, self._timeout)
        try:
            return bounded.within(limit, work)
        except bounded.TookTooLong:
            raise AddressError("%s did not answer within %d seconds" % (self.url, limit))
