# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model registry: manifests and ranges of blobs, without pulling anything (what Ollama itself asks: ollama-0.32.15-api.json, pull-registry-side)."""

from __future__ import annotations

import time
import urllib.parse

from ansible_collections.gpufleet.ollama.plugins.module_utils.libraries import import_requests
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import trusted
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.manifest import ACCEPT, MAX_BYTES, Manifest, ManifestError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.names import registry_host

ATTEMPTS = 3
PAUSE = 0.5  # seconds before the second attempt, doubled for the third
USER_AGENT = "gpufleet.ollama"
_CHUNK = 65536


class RegistryError(Exception):
    """The registry has no usable answer. `kind`: unknown (no such model), denied, unreachable, answer; the text is one sentence."""

    def __init__(self, kind, message):
        super(RegistryError, self).__init__(message)
        self.kind = kind


class Registry(object):
    """Registry of `name` (names.Name), or the mirror `registry` (host[:port] or URL) in its place.

    insecure: plain http instead of https; timeout: seconds without a byte. `bytes_read` counts what came. Raises InvalidName, LibraryMissing.
    """

    def __init__(self, name, registry=None, insecure=False, timeout=30.0):
        self.name = name
        self.host = registry_host(registry or name.host)
        self.timeout = float(timeout)
        self.bytes_read = 0
        self._insecure = insecure or str(registry or "").lower().startswith("http://")
        self._requests = import_requests()
        self._session = self._requests.Session()
        self._session.headers["User-Agent"] = USER_AGENT
        self._session.verify = trusted()
        self._base = "%s://%s/v2/%s/%s" % ("http" if self._insecure else "https", self.host, name.namespace, name.model)
        self._final = {}  # digest -> address that its redirect led to, so that each range costs one request

    def manifest(self):
        """Manifest of the name's tag. Raises RegistryError."""
        response = self._get("%s/manifests/%s" % (self._base, self.name.tag), {"Accept": ACCEPT}, "the manifest of %s" % self.name)
        raw = self._body(response, MAX_BYTES + 1, "the manifest of %s" % self.name)
        try:
            return Manifest(raw)
        except ManifestError as error:
            raise RegistryError("answer", "the manifest of %s from the registry %s %s; is this a model registry?" % (self.name, self.host, error))

    def blob(self, digest, limit=1024 * 1024):
        """The whole of a small blob, `limit` bytes at most."""
        return self.blob_range(digest, 0, limit)

    def blob_range(self, digest, offset, size):
        """Up to `size` bytes of the blob `digest` from `offset`; fewer at its end, b"" beyond. Raises RegistryError."""
        what = "the blob %s of %s" % (digest[:19], self.name)
        url = self._final.get(digest) or "%s/blobs/%s" % (self._base, digest)
        headers = {"Range": "bytes=%d-%d" % (offset, offset + size - 1), "Accept-Encoding": "identity"}
        response = self._get(url, headers, what)
        if response.status_code == 200 and response.headers.get("Location"):  # a redirect that Ollama follows too (pull-fault-loc200)
            response.close()
            response = self._get(urllib.parse.urljoin(response.url, response.headers["Location"]), headers, what)
        if response.status_code == 416:
            response.close()
            return b""
        self._final[digest] = response.url
        if response.status_code == 206:
            return self._body(response, size, what)
        # 200: the server ignores ranges. What lies before the offset comes too and is dropped; the rest of the blob is not read.
        return self._body(response, offset + size, what)[offset:]

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
                if "WRONG_VERSION_NUMBER" in str(error) or "record layer failure" in str(error) or "HTTP_REQUEST" in str(error):
                    problem = "it speaks plain http; set insecure: true if you trust the way to it"
                else:
                    problem = "its certificate is not trusted (%s)" % _short(error)
                raise RegistryError("unreachable", "cannot get %s from the registry %s: %s" % (what, self.host, problem))
            except exceptions.Timeout:
                raise RegistryError("unreachable", "the registry %s did not answer within %d seconds for %s; check the network, "
                                                   "or set a mirror with registry" % (self.host, self.timeout, what))
            except exceptions.RequestException as error:
                problem = RegistryError("unreachable", "cannot reach the registry %s for %s: %s; check the network, or set a mirror with registry"
                                        % (self.host, what, _short(error)))
                continue
            if response.status_code in (200, 206, 416):
                if not self._insecure and urllib.parse.urlsplit(response.url).scheme != "https":
                    response.close()
                    raise RegistryError("answer", "the registry %s redirects to plain http for %s; set insecure: true if you trust the way to it"
                                        % (self.host, what))
                return response
            response.close()
            problem = self._refusal(response.status_code, what)
            if response.status_code < 500:
                break
        raise problem

    def _refusal(self, status, what):
        if status == 404:
            if what.startswith("the manifest"):
                return RegistryError("unknown", "the registry %s has no model %s; check the name and the tag" % (self.host, self.name))
            return RegistryError("unknown", "the registry %s names but does not have %s; tell its owner" % (self.host, what))
        if status in (401, 403):
            return RegistryError("denied", "the registry %s refuses %s (%d): the model does not exist there or needs a login; check the name, "
                                           "or use a mirror that serves it openly" % (self.host, what, status))
        return RegistryError("answer", "the registry %s answered %d for %s; try again later" % (self.host, status, what))

    def _body(self, response, limit, what):
        """Up to `limit` bytes of the answer; the rest is not read."""
        parts, have = [], 0
        try:
            for part in response.iter_content(_CHUNK):
                parts.append(part)
                have += len(part)
                self.bytes_read += len(part)
                if have >= limit:
                    break
        except self._requests.exceptions.RequestException as error:
            raise RegistryError("unreachable", "the connection to the registry %s broke in the middle of %s: %s; try again" % (self.host, what, _short(error)))
        finally:
            response.close()
        return b"".join(parts)[:limit]


def _short(error):
    """The innermost reason of an exception of requests, whose own texts are nested reprs with addresses of objects."""
    reason = error
    for unused in range(6):
        inner = getattr(reason, "reason", None) or (reason.args[0] if getattr(reason, "args", None) and isinstance(reason.args[0], Exception) else None)
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
