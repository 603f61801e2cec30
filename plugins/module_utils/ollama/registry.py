# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read manifests and ranges of blobs from a model registry, without pulling a model.

The requests are those of Ollama itself (ollama-0.32.15-api.json, pull-registry-side).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any, Callable, TypeVar

from ..common.libraries import import_requests
from ..common.names import Name, registry_host
from ..common.secrets import without_credentials
from . import bounded, failed_requests
from .attempts import ATTEMPTS, answered
from .connection import trusted
from .login import PASSWORD, USERNAME, Login, LoginRefused
from .manifest import ACCEPT, MAX_BYTES, Manifest, ManifestError
from .next_bytes import next_bytes
from .redirects import Hops, Refused
from .registry_login import Access

WHOLE_BYTES = 32 * 1024 * 1024  # that may be read of one model and its draft model
USER_AGENT = "gpufleet.ollama"
_CHUNK = 65536
_CHECK_LOGIN = "check %s and %s" % (USERNAME, PASSWORD)
Result = TypeVar("Result")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")


class RegistryError(Exception):
    """The registry has no usable answer. The text is one sentence.

    `kind` is unknown (no such model), denied, unreachable or answer (it makes no sense).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(without_credentials(message))
        self.kind = kind


class Registry:
    """The registry of a model. `address` is its scheme and host; `bytes_read` counts the bytes of its answers.

    No answer can take for ever: each has a limit (bounded.seconds_for), and all together may take as long as one of
    WHOLE_BYTES (`seconds_left`, from the first request on).

    Args:
        name: of the model.
        registry: a mirror (host[:port] or URL) in place of the registry in the name.
        insecure: whether to use plain http instead of https.
        timeout: seconds without a byte.
        login: user name and password of the registry; None for one that needs none.

    Raises:
        InvalidName: the mirror is no host.
        LibraryMissing: requests is not installed.
    """

    def __init__(
        self,
        name: Name,
        registry: str | None = None,
        insecure: bool = False,
        timeout: float = 30.0,
        login: Login | None = None,
    ) -> None:
        self.name = name
        self.host = registry_host(registry or name.host)
        self.timeout = float(timeout)
        self.bytes_read = 0
        self._insecure = insecure or str(registry or "").lower().startswith("http://")
        self._requests = import_requests()
        self._session = self._requests.Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self._session.verify = trusted()
        self.address = "%s://%s" % ("http" if self._insecure else "https", self.host.lower())
        self._login = login
        scope = "repository:%s/%s:pull" % (name.namespace, name.model)
        self._access = Access(Hops(self._requests, self._session, self.address), self.address, login, scope)
        self._ends: float | None = None
        self._base = "%s/v2/%s/%s" % (self.address, name.namespace, name.model)
        self._final: dict[str, str] = {}  # digest -> address after redirects, so that each range costs one request

    def seconds_left(self) -> float:
        """Return how many seconds all further answers together may take; 0 or less if none are left."""
        if self._ends is None:
            self._ends = time.monotonic() + bounded.seconds_for(WHOLE_BYTES, self.timeout)
        return self._ends - time.monotonic()

    def manifest(self) -> Manifest:
        """Return the manifest of the model. Raises RegistryError."""
        what = "the manifest of %s" % self.name
        url = "%s/manifests/%s" % (self._base, self.name.tag)
        raw = self._bounded(
            MAX_BYTES, what, lambda: self._body(self._get(url, {"Accept": ACCEPT}, what), MAX_BYTES + 1, what)
        )
        try:
            return Manifest(raw)
        except ManifestError as error:
            raise RegistryError(
                "answer",
                "the manifest of %s from the registry %s %s; is this a model registry?" % (self.name, self.host, error),
            )

    def blob_range(self, digest: str, offset: int, size: int, whole: int | None = None) -> bytes:
        """Return a range of a blob.

        Args:
            digest: of the blob.
            offset: where the range begins.
            size: bytes of the range.
            whole: size of the blob by its manifest; None where it is unknown.

        Returns:
            The bytes: fewer at the end of the blob, b"" beyond it.

        Raises:
            RegistryError: there is no usable answer, or the blob has another size.
        """
        what = "the blob %s of %s" % (digest[:19], self.name)
        return self._bounded(offset + size, what, lambda: self._range(digest, offset, size, whole, what))

    @contextlib.contextmanager
    def reader(self, digest: str, offset: int, whole: int) -> Iterator[Callable[[int], bytes]]:
        """Give a function that returns at most so many of the next bytes of a blob, from a byte on; b"" at its end.

        Args:
            digest: of the blob.
            offset: of the first byte.
            whole: size of the blob by its manifest.

        Raises:
            RegistryError: there is no usable answer, the blob has another size, or the connection breaks.
        """
        what = "the blob %s of %s" % (digest[:19], self.name)
        headers = {"Range": "bytes=%d-" % offset}
        response = self._get("%s/blobs/%s" % (self._base, digest), headers, what, also_200=True)
        try:
            if response.status_code == 206:
                self._check_range(response, offset, whole, what)
            parts = self._parts(response, what) if response.status_code != 416 else iter(())
            yield next_bytes(parts, offset if response.status_code == 200 else 0)
        finally:
            response.close()

    def _range(self, digest: str, offset: int, size: int, whole: int | None, what: str) -> bytes:
        url = self._final.get(digest) or "%s/blobs/%s" % (self._base, digest)
        headers = {"Range": "bytes=%d-%d" % (offset, offset + size - 1)}
        # Ollama follows a Location with status 200 as well (pull-fault-loc200).
        response = self._get(url, headers, what, also_200=True)
        if response.status_code == 416:
            response.close()
            return b""
        self._final[digest] = response.url
        if response.status_code == 206:
            self._check_range(response, offset, whole, what)
            return self._body(response, size, what)
        # 200: the server ignores ranges. The bytes before the offset are dropped; those after the range are not read.
        return self._body(response, size, what, offset)

    def _check_range(self, response: Any, offset: int, whole: int | None, what: str) -> None:
        """Raise RegistryError where the answer is another range than requested, or of a blob of another size."""
        stated = response.headers.get("Content-Range")
        found = _CONTENT_RANGE.match(stated) if stated else None
        problem = None
        if (
            stated
            and not found
            or found
            and int(found.group(1)) != offset
            or "multipart" in response.headers.get("Content-Type", "")
        ):
            problem = "answers with another range (%s) than requested (from byte %d)" % (stated, offset)
        elif found and whole is not None and found.group(2) not in ("*", str(whole)):
            problem = "has %s bytes, but its manifest says %d," % (found.group(2), whole)
        if problem:
            response.close()
            raise RegistryError(
                "answer",
                "the registry %s %s for %s; inform its owner, or set a mirror with registry"
                % (self.host, problem, what),
            )

    def _bounded(self, size: int, what: str, work: Callable[[], Result]) -> Result:
        """Return the result of work(), which reads an answer of up to `size` bytes, in limited time.

        Raises:
            RegistryError: it took too long; `work` may raise other exceptions.
        """
        limit = min(bounded.seconds_for(size, self.timeout), self.seconds_left())
        try:
            return bounded.within(limit, work)
        except bounded.TookTooLong:
            raise RegistryError(
                "unreachable",
                "the registry %s was not done with %s after %d seconds; check the network, set a longer timeout, "
                "or set a mirror with registry" % (self.host, what, max(0, limit)),
            )

    def _get(self, url: str, headers: dict[str, str], what: str, also_200: bool = False) -> Any:
        """Return an answer with status 200, 206 or 416. What may pass is tried again (attempts.py).

        `also_200` follows a Location in an answer with status 200 too.

        Raises:
            RegistryError: there is none.
        """
        exceptions = self._requests.exceptions
        try:
            response = answered(lambda: self._access.get(url, headers, self.timeout, also_200), exceptions)
        except LoginRefused as error:
            raise RegistryError("denied", "the registry %s %s for %s; %s" % (self.host, error, what, _CHECK_LOGIN))
        except Refused as error:
            remedy = (
                "set insecure: true if you trust the network"
                if "plain http" in str(error)
                else ("inform its owner, or set a mirror with registry")
            )
            raise RegistryError("answer", "the registry %s %s for %s; %s" % (self.host, error, what, remedy))
        except exceptions.RequestException as error:
            raise self._no_answer(error, what)
        if response.status_code in (200, 206, 416):
            self._check_answer(response, what)
            return response
        response.close()
        raise self._refusal(response.status_code, what)

    def _no_answer(self, error: Exception, what: str) -> RegistryError:
        """Return the error for an exception of requests."""
        exceptions = self._requests.exceptions
        if isinstance(error, exceptions.SSLError):
            if any(sign in str(error) for sign in ("WRONG_VERSION_NUMBER", "record layer failure", "HTTP_REQUEST")):
                problem = "it speaks plain http; set insecure: true if you trust the network"
            else:
                problem = "its certificate is not trusted (%s)" % failed_requests.innermost(error)
            return RegistryError("unreachable", "cannot get %s from the registry %s: %s" % (what, self.host, problem))
        if isinstance(error, exceptions.ReadTimeout):
            return RegistryError(
                "unreachable",
                "the registry %s did not answer within %d seconds, in %d attempts, for %s; check the network, "
                "or set a mirror with registry" % (self.host, self.timeout, ATTEMPTS, what),
            )
        return RegistryError(
            "unreachable",
            "cannot reach the registry %s for %s: %s; check the network, or set a mirror with registry"
            % (self.host, what, failed_requests.phrase(error)),
        )

    def _check_answer(self, response: Any, what: str) -> None:
        """Close an answer and raise RegistryError where it is compressed: few bytes could become very many."""
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise RegistryError(
                "answer",
                "the registry %s compresses %s against the request; set a mirror with registry" % (self.host, what),
            )

    def _refusal(self, status: int, what: str) -> RegistryError:
        if status == 404:
            if what.startswith("the manifest"):
                return RegistryError(
                    "unknown", "the registry %s has no model %s; check the name and the tag" % (self.host, self.name)
                )
            return RegistryError(
                "unknown",
                "the registry %s does not have %s, which its manifest lists; inform its owner" % (self.host, what),
            )
        if status in (401, 403) and self._login is not None:
            return RegistryError(
                "denied", "the registry %s refuses %s to this user (%d): %s" % (self.host, what, status, _CHECK_LOGIN)
            )
        if status in (401, 403):
            return RegistryError(
                "denied",
                "the registry %s refuses %s (%d): the model does not exist there or needs a login; check the name, "
                "use a mirror that needs no login, or give %s and %s for ollama_multigpu_registry"
                % (self.host, what, status, USERNAME, PASSWORD),
            )
        return RegistryError(
            "answer", "the registry %s answered %d for %s; try again later" % (self.host, status, what)
        )

    def _body(self, response: Any, limit: int, what: str, skip: int = 0) -> bytes:
        """Return up to `limit` bytes of an answer after its first `skip`; the rest is not read."""
        parts, have = [], 0
        try:
            for part in self._parts(response, what):
                dropped = min(skip, len(part))
                skip -= dropped
                parts.append(part[dropped:])
                have += len(part) - dropped
                if have >= limit:
                    break
        finally:
            response.close()
        return b"".join(parts)[:limit]

    def _parts(self, response: Any, what: str) -> Iterator[bytes]:
        """Yield the parts of an answer as they come. Raises RegistryError where the connection breaks."""
        try:
            for part in response.iter_content(_CHUNK):
                self.bytes_read += len(part)
                yield part
        except self._requests.exceptions.RequestException as error:
            raise RegistryError(
                "unreachable",
                "the connection to the registry %s broke in the middle of %s: %s; try again"
                % (self.host, what, failed_requests.phrase(error)),
            )
