# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Download the archive of a release and check it against its SHA-256.

The rules for redirects are those of a registry (redirects.py): never from https to http, and not from the internet into
a private network. The hash is made of the bytes that are written.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
from typing import Any

from ..common.libraries import import_requests
from ..common.regular import open_regular
from ..common.secrets import without_credentials
from ..common.sizes import gib
from ..host import file_system
from . import bounded
from .connection import trusted
from .failed_requests import phrase
from .redirects import Hops, Refused
from .registry import USER_AGENT

#: Real archives have 1.1 to 2 GB.
MOST_BYTES = 8 * 1024**3
#: Attempts in succession in which nothing comes, and attempts at all, after which a download is given up.
MOST_FAILURES = 3
MOST_TRIES = 100
PAUSE = 1.0  # seconds before the second attempt, doubled each time
_MOST_SUMS = 64 * 1024
_CHUNK = 1024 * 1024
_SUM = re.compile(r"(?P<hash>[0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(?P<name>\S+)\Z")


class DownloadError(Exception):
    """There is no archive with the wanted hash. The text is a phrase ("https://... redirects to plain http")."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class DownloadInterrupted(DownloadError):
    """The connection broke. What came is kept, and the next download goes on from there.

    `keeps_download` tells host/release_install.py not to take it away.
    """

    keeps_download = True


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

        A file that is there already and has the hash is kept; one that is the beginning of the archive is completed. A
        connection that breaks is taken up again as long as something comes.

        Args:
            url: of the archive.
            path: of the file.
            sha256: in lower case.

        Raises:
            DownloadInterrupted: the connection breaks again and again.
            DownloadError: there is no answer, or it has another hash.
            OSError: the file cannot be written.
        """
        failures, tries, fresh = 0, 0, not os.path.lexists(path)
        while True:
            digest, have = _begun(path)
            if digest.hexdigest() == sha256:
                return
            tries += 1
            try:
                found = self._bounded(url, MOST_BYTES, functools.partial(self._write, url, path, digest, have))
            except DownloadInterrupted:
                failures = 1 if _begun(path)[1] > have else failures + 1
                if failures >= MOST_FAILURES or tries >= MOST_TRIES:
                    raise
                time.sleep(PAUSE * 2 ** (failures - 1))
                continue
            if found == sha256:
                return
            os.unlink(path)
            if fresh:
                raise DownloadError("%s has the checksum %s, not the checksum %s that is wanted" % (url, found, sha256))
            fresh = True  # what an earlier run left was not the beginning of this archive

    def _write(self, url: str, path: str, digest: Any, have: int) -> str:
        """Complete a file, or begin it where the server does not go on; return its hash.

        Args:
            url: of the archive.
            path: of the file.
            digest: hash of what is there.
            have: bytes of that.
        """
        response = self._get(url, have)
        try:
            if response.status_code != 206:
                digest, have = hashlib.sha256(), 0
            self._check_room(url, path, response)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if have else os.O_TRUNC)
            with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
                stream.seek(have)
                for part in response.iter_content(_CHUNK):
                    have += len(part)
                    if have > MOST_BYTES:
                        raise DownloadError("%s is larger than %s" % (url, gib(MOST_BYTES)))
                    digest.update(part)
                    stream.write(part)
        finally:
            response.close()
        return digest.hexdigest()

    def _check_room(self, url: str, path: str, response: Any) -> None:
        length = response.headers.get("Content-Length", "")
        free = file_system.free_bytes(os.path.dirname(path))
        if length.isdigit() and int(length) > free:
            raise DownloadError(
                "%s needs %s bytes in %s, where %d are free: free %d more"
                % (url, length, os.path.dirname(path), free, int(length) - free)
            )

    def _get(self, url: str, offset: int = 0) -> Any:
        """Return an answer with status 200, or 206 from `offset` on. Raises DownloadError, and what requests raises."""
        session = self._requests.Session()
        session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        session.verify = trusted()
        headers = {"Range": "bytes=%d-" % offset} if offset else {}
        response = Hops(self._requests, session, url.lower()).get(url, headers, self._timeout)
        identity = response.headers.get("Content-Encoding", "identity").lower() == "identity"
        if identity and (response.status_code == 200 or _goes_on(response, offset)):
            return response
        response.close()
        if offset and response.status_code in (206, 416):  # it has another length than what is there
            return self._get(url)
        raise DownloadError("%s answers with the status %d" % (url, response.status_code))

    def _bounded(self, url: str, size: int, work: Any) -> Any:
        """Return the result of work(), which reads an answer of up to `size` bytes, in limited time."""
        limit = bounded.seconds_for(size, self._timeout)
        try:
            return bounded.within(limit, work)
        except bounded.TookTooLong:
            raise DownloadError("%s did not end within %d seconds" % (url, limit))
        except Refused as error:
            raise DownloadError("%s %s" % (url, error))
        except bounded.TooMuch as error:
            raise DownloadError("%s %s" % (url, error))
        except self._requests.exceptions.RequestException as error:
            raise DownloadInterrupted("%s cannot be read: %s" % (url, phrase(error)))


def _goes_on(response: Any, offset: int) -> bool:
    """Whether an answer is the rest of a file from a place on."""
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith("bytes %d-" % offset)


def _begun(path: str) -> tuple[Any, int]:
    """Return the hash and the bytes of what an earlier download left."""
    digest, have = hashlib.sha256(), 0
    if os.path.lexists(path):
        with open_regular(path, follow=False) as stream:
            for part in iter(lambda: stream.read(_CHUNK), b""):
                digest.update(part)
                have += len(part)
    return digest, have
