# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model registry: manifests and ranges of blobs, without pulling anything (what Ollama itself asks: ollama-0.32.15-api.json, pull-registry-side)."""

from __future__ import annotations

import re
import threading
import time
import urllib.parse

from ..common.libraries import import_requests
from ..common.names import registry_host
from .client import trusted
from .manifest import ACCEPT, MAX_BYTES, Manifest, ManifestError

ATTEMPTS = 3
PAUSE = 0.5  # seconds before the second attempt, doubled for the third
LEAST_RATE = (
    64 * 1024
)  # bytes a second: what comes more slowly is given up (requests bounds only the time between two bytes)
USER_AGENT = "gpufleet.ollama"
_CHUNK = 65536
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")


class RegistryError(Exception):
    """The registry has no usable answer. `kind`: unknown (no such model), denied, unreachable, answer; the text is one sentence."""

    def __init__(self, kind, message):
        super(RegistryError, self).__init__(message)
        self.kind = kind


class Registry(object):
    """Registry of `name` (names.Name), or the mirror `registry` (host[:port] or URL) in its place.

    insecure: plain http instead of https; timeout: seconds without a byte. `bytes_read` counts what came. Raises InvalidName, LibraryMissing.
    No answer lasts for ever: one that brings less than LEAST_RATE is given up after a few timeouts.
    """

    def __init__(self, name, registry=None, insecure=False, timeout=30.0):
        self.name = name
        self.host = registry_host(registry or name.host)
        self.timeout = float(timeout)
        self.bytes_read = 0
        self._insecure = insecure or str(registry or "").lower().startswith("http://")
        self._requests = import_requests()
        self._session = self._requests.Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self._session.verify = trusted()
        self._base = "%s://%s/v2/%s/%s" % ("http" if self._insecure else "https", self.host, name.namespace, name.model)
        self._final = {}  # digest -> address that its redirect led to, so that each range costs one request

    def manifest(self):
        """Manifest of the name's tag. Raises RegistryError."""
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

    def blob(self, digest, limit=1024 * 1024):
        """The whole of a small blob, `limit` bytes at most."""
        return self.blob_range(digest, 0, limit)

    def blob_range(self, digest, offset, size, whole=None):
        """Up to `size` bytes of the blob `digest` from `offset`; fewer at its end, b"" beyond.

        whole: bytes that the manifest gives the blob, or None. Raises RegistryError, also where the registry says that it has another size.
        """
        what = "the blob %s of %s" % (digest[:19], self.name)
        return self._bounded(offset + size, what, lambda: self._range(digest, offset, size, whole, what))

    def _range(self, digest, offset, size, whole, what):
        url = self._final.get(digest) or "%s/blobs/%s" % (self._base, digest)
        headers = {"Range": "bytes=%d-%d" % (offset, offset + size - 1)}
        response = self._get(url, headers, what)
        if response.status_code == 200 and response.headers.get(
            "Location"
        ):  # a redirect that Ollama follows too (pull-fault-loc200)
            response.close()
            response = self._get(urllib.parse.urljoin(response.url, response.headers["Location"]), headers, what)
        if response.status_code == 416:
            response.close()
            return b""
        self._final[digest] = response.url
        if response.status_code == 206:
            self._check_range(response, offset, whole, what)
            return self._body(response, size, what)
        # 200: the server ignores ranges. What lies before the offset comes too and is dropped; the rest of the blob is not read.
        return self._body(response, size, what, offset)

    def _check_range(self, response, offset, whole, what):
        """Raise RegistryError where the answer says that it is another range, or of a blob of another size, than was asked for."""
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
            problem = "answers with another range (%s) than asked for (from byte %d)" % (stated, offset)
        elif found and whole is not None and found.group(2) not in ("*", str(whole)):
            problem = "has %s bytes, but its manifest says %d," % (found.group(2), whole)
        if problem:
            response.close()
            raise RegistryError(
                "answer",
                "the registry %s %s for %s; tell its owner, or set a mirror with registry" % (self.host, problem, what),
            )

    def _bounded(self, size, what, work):
        """Result of work(), which gets an answer of up to `size` bytes, in bounded time. Raises what it raises, and RegistryError.

        A thread does it, because an answer that drips never lets go of the reader; given up, it ends with the process, which is about to.
        """
        limit = ATTEMPTS * self.timeout + size / LEAST_RATE
        outcome = {}

        def run():
            try:
                outcome["result"] = work()
            except Exception as error:  # pylint: disable=broad-except  # raised again below
                outcome["error"] = error

        thread = threading.Thread(target=run)
        thread.daemon = True
        thread.start()
        thread.join(limit)
        if thread.is_alive():
            raise RegistryError(
                "unreachable",
                "the registry %s was not done with %s after %d seconds; check the network, set a longer timeout, "
                "or set a mirror with registry" % (self.host, what, limit),
            )
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    def _get(self, url, headers, what):
        """Answer of status 200, 206 or 416. Trouble that may pass (connection, 5xx) is tried again. Raises RegistryError."""
        exceptions = self._requests.exceptions
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                response = self._session.get(url, headers=headers, timeout=self.timeout, stream=True)
            except exceptions.TooManyRedirects:
                raise RegistryError("answer", "the registry %s redirects in a circle for %s" % (self.host, what))
            except exceptions.SSLError as error:
                if (
                    "WRONG_VERSION_NUMBER" in str(error)
                    or "record layer failure" in str(error)
                    or "HTTP_REQUEST" in str(error)
                ):
                    problem = "it speaks plain http; set insecure: true if you trust the way to it"
                else:
                    problem = "its certificate is not trusted (%s)" % _short(error)
                raise RegistryError(
                    "unreachable", "cannot get %s from the registry %s: %s" % (what, self.host, problem)
                )
            except exceptions.Timeout:
                raise RegistryError(
                    "unreachable",
                    "the registry %s did not answer within %d seconds for %s; check the network, "
                    "or set a mirror with registry" % (self.host, self.timeout, what),
                )
            except exceptions.RequestException as error:
                problem = RegistryError(
                    "unreachable",
                    "cannot reach the registry %s for %s: %s; check the network, or set a mirror with registry"
                    % (self.host, what, _short(error)),
                )
                continue
            if response.status_code in (200, 206, 416):
                if not self._insecure and urllib.parse.urlsplit(response.url).scheme != "https":
                    response.close()
                    raise RegistryError(
                        "answer",
                        "the registry %s redirects to plain http for %s; set insecure: true if you trust the way to it"
                        % (self.host, what),
                    )
                if (
                    response.headers.get("Content-Encoding", "identity").lower() != "identity"
                ):  # a little of it may become very much
                    response.close()
                    raise RegistryError(
                        "answer",
                        "the registry %s compresses %s, which it was not asked to; set a mirror with registry"
                        % (self.host, what),
                    )
                return response
            response.close()
            problem = self._refusal(response.status_code, what)
            if response.status_code < 500:
                break
        raise problem

    def _refusal(self, status, what):
        if status == 404:
            if what.startswith("the manifest"):
                return RegistryError(
                    "unknown", "the registry %s has no model %s; check the name and the tag" % (self.host, self.name)
                )
            return RegistryError(
                "unknown", "the registry %s names but does not have %s; tell its owner" % (self.host, what)
            )
        if status in (401, 403):
            return RegistryError(
                "denied",
                "the registry %s refuses %s (%d): the model does not exist there or needs a login; check the name, "
                "or use a mirror that serves it openly" % (self.host, what, status),
            )
        return RegistryError(
            "answer", "the registry %s answered %d for %s; try again later" % (self.host, status, what)
        )

    def _body(self, response, limit, what, skip=0):
        """Up to `limit` bytes of the answer behind its first `skip`; the rest is not read."""
        parts, have = [], 0
        try:
            for part in response.iter_content(_CHUNK):
                self.bytes_read += len(part)
                dropped = min(skip, len(part))
                skip -= dropped
                parts.append(part[dropped:])
                have += len(part) - dropped
                if have >= limit:
                    break
        except self._requests.exceptions.RequestException as error:
            raise RegistryError(
                "unreachable",
                "the connection to the registry %s broke in the middle of %s: %s; try again"
                % (self.host, what, _short(error)),
            )
        finally:
            response.close()
        return b"".join(parts)[:limit]


def _short(error):
    """The innermost reason of an exception of requests, whose own texts are nested reprs with addresses of objects."""
    reason = error
    for unused in range(6):
        inner = getattr(reason, "reason", None) or (
            reason.args[0] if getattr(reason, "args", None) and isinstance(reason.args[0], Exception) else None
        )
        if not isinstance(inner, Exception):
            break
        reason = inner
    text = str(reason)
    for needle, phrase in (
        ("Connection refused", "connection refused"),
        ("Name or service not known", "unknown host"),
        ("Temporary failure in name resolution", "the host name cannot be resolved"),
        ("No route to host", "no route to host"),
        ("Network is unreachable", "network is unreachable"),
        ("Read timed out", "nothing came any more"),
        ("IncompleteRead", "it was closed early"),
        ("Connection reset", "it was reset"),
        ("Remote end closed", "it was closed without an answer"),
    ):
        if needle in text:
            return phrase
    return text.rpartition("> ")[2].splitlines()[0] if text else type(reason).__name__
