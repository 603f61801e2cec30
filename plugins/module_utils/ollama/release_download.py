# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Download the archive of a release and check it against its SHA-256.

The rules for redirects are those of a registry (redirects.py): never from https to http, and not from the internet into
a private network. The hash is made of the bytes that are written.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, BinaryIO

from ..common.libraries import import_requests
from ..common.regular import open_regular
from ..common.secrets import without_credentials
from ..common.sizes import gib
from . import bounded
from .connection import cause, trusted
from .redirects import Hops, Refused
from .registry import LEAST_RATE, USER_AGENT

#: Real archives have 1.1 to 2 GB.
MOST_BYTES = 8 * 1024**3
_MOST_SUMS = 64 * 1024
_CHUNK = 1024 * 1024
_SUM = re.compile(r"(?P<hash>[0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(?P<name>\S+)\Z")


class DownloadError(Exception):
    """There is no archive with the wanted hash. The text is a phrase ("https://... redirects to plain http")."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class Download:
    """Downloads of one release.

    Args:
        timeout: seconds without a byte.

    Raises:
        LibraryMissing: requests is not installed.
    """

    def __init__(self, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._requests = import_requests()

    def checksum(self, url: str, name: str) -> str:
        """Return the SHA-256 that a sha256sum.txt has for a file, in lower case.

        Args:
            url: of the sha256sum.txt.
            name: of the file.

        Raises:
            DownloadError: there is none.
        """

        def read() -> bytes:
            return bounded.body(self._get(url), _MOST_SUMS)

        lines = self._bounded(url, _MOST_SUMS, read).decode("utf-8", "replace").splitlines()
        found = {match.group("hash").lower() for match in map(_SUM.match, lines) if match and match["name"] == name}
        if len(found) != 1:
            raise DownloadError("%s has %s checksum of %s" % (url, "more than one" if found else "no", name))
        return found.pop()

    def archive(self, url: str, path: str, sha256: str) -> None:
        """Put an archive into a file of a directory that nobody else reaches, and check its hash.

        A file that is there already and has the hash is kept.

        Args:
            url: of the archive.
            path: of the file.
            sha256: in lower case.

        Raises:
            DownloadError: there is no answer, or it has another hash.
            OSError: the file cannot be written.
        """
        if os.path.lexists(path):
            with open_regular(path, follow=False) as stream:
                if _hash(stream) == sha256:
                    return
            os.unlink(path)

        def read() -> str:
            return self._write(self._get(url), url, path)

        found = self._bounded(url, MOST_BYTES, read)
        if found != sha256:
            raise DownloadError("%s has the checksum %s, not the checksum %s that is wanted" % (url, found, sha256))

    def _write(self, response: Any, url: str, path: str) -> str:
        """Write an answer into a new file and return its hash."""
        digest, have = hashlib.sha256(), 0
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
                for part in response.iter_content(_CHUNK):
                    have += len(part)
                    if have > MOST_BYTES:
                        raise DownloadError("%s is larger than %s" % (url, gib(MOST_BYTES)))
                    digest.update(part)
                    stream.write(part)
        finally:
            response.close()
        return digest.hexdigest()

    def _get(self, url: str) -> Any:
        """Return an answer with status 200. Raises DownloadError, and what requests raises."""
        session = self._requests.Session()
        session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        session.verify = trusted()
        response = Hops(self._requests, session, url.lower()).get(url, {}, self._timeout)
        if response.status_code != 200 or response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise DownloadError("%s answers with the status %d" % (url, response.status_code))
        return response

    def _bounded(self, url: str, size: int, work: Any) -> Any:
        """Return the result of work(), which reads an answer of up to `size` bytes, in limited time."""
        limit = 3 * self._timeout + size / LEAST_RATE
        try:
            return bounded.within(limit, work)
        except bounded.TookTooLong:
            raise DownloadError("%s did not end within %d seconds" % (url, limit))
        except Refused as error:
            raise DownloadError("%s %s" % (url, error))
        except bounded.TooMuch as error:
            raise DownloadError("%s %s" % (url, error))
        except self._requests.exceptions.RequestException as error:
            raise DownloadError("%s cannot be read: %s" % (url, cause(error)))


def _hash(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    for part in iter(lambda: stream.read(_CHUNK), b""):
        digest.update(part)
    return digest.hexdigest()
