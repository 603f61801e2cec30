# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""HTTP API of an Ollama server (requests as in ollama-0.32.15-api.json).

Two habits of that API shape this file: a streamed call that fails is HTTP 200 with a last line `{"error": ...}`, and error texts
differ between endpoints, so callers decide on `status` (404), never on the text.
Timeouts are always those of a stall: so many seconds without a byte, never a limit on a whole pull.
"""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
import time
import urllib.parse

from ..common.libraries import import_requests

LOAD_TIMEOUT = 1800.0  # seconds; a load sends nothing until it is done, and the server itself gives up a stalled one (OLLAMA_LOAD_TIMEOUT)
PULL_ATTEMPTS = 5
PULL_PAUSE = 1.0  # seconds before the first retry, doubled each time

# Messages of a failed pull after which another attempt can go on where the last one stopped. Everything else (unknown tag, refused, wrong digest) is final.
_RESUMABLE = (
    "unexpected eof",
    "connection reset",
    "max retries exceeded",
    "broken pipe",
    "i/o timeout",
    "tls handshake timeout",
    "context deadline exceeded",
)


class OllamaError(Exception):
    """The server answered with an error. `status`: HTTP status (200 for an error line in a stream, None when there was no answer); `message`: its text."""

    def __init__(self, status, message):
        super(OllamaError, self).__init__(message)
        self.status = status
        self.message = message


class OllamaUnreachable(OllamaError):
    """No answer from `url`: refused, unknown host, cut or stalled. `cause` says which."""

    def __init__(self, url, cause):
        super(OllamaUnreachable, self).__init__(None, "cannot reach the Ollama server at %s: %s" % (url, cause))
        self.url = url
        self.cause = cause


class InvalidUrl(OllamaError):
    """`url` is no address of an Ollama server."""

    def __init__(self, url, reason):
        super(InvalidUrl, self).__init__(None, "url %r %s; give it as http://host:port" % (url, reason))


def check_url(url):
    """Return `url` without a trailing slash. Raises InvalidUrl for anything but http(s)://host[:port] with a port of 1-65535."""
    if not isinstance(url, str) or any(character.isspace() or ord(character) < 32 for character in url):
        raise InvalidUrl(url, "contains white space or is no text")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidUrl(url, "has a port that is not between 1 and 65535")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidUrl(url, "is not an http or https address")
    if port == 0:
        raise InvalidUrl(url, "has a port that is not between 1 and 65535")
    if parts.username or parts.password:
        raise InvalidUrl(url, "carries a user name or password, which Ollama does not know")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidUrl(url, "has a path, query or fragment")
    return url.rstrip("/")


def _is_loopback(url):
    host = urllib.parse.urlsplit(url).hostname
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trusted():
    """What requests should verify certificates with: the system's own list where there is one, as Ollama does, so that a private authority counts."""
    path = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    return path if os.path.exists(path) and not os.environ.get("REQUESTS_CA_BUNDLE") else True


def _cause(error):
    """One short phrase for an exception of requests, whose own texts are nested reprs."""
    text = str(error)
    for needle, phrase in (
        ("Connection refused", "connection refused; is the service running?"),
        ("Name or service not known", "its host name is unknown"),
        ("nodename nor servname", "its host name is unknown"),
        ("Temporary failure in name resolution", "its host name cannot be resolved"),
        ("No route to host", "no route to the host"),
        ("Network is unreachable", "the network is unreachable"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
        ("WRONG_VERSION_NUMBER", "it speaks plain http, not https"),
        ("ConnectTimeout", "the connection timed out"),
        ("connect timeout", "the connection timed out"),
        ("Connection reset", "the connection was reset"),
        ("RemoteDisconnected", "the connection was closed"),
        ("IncompleteRead", "the connection was closed in the middle of the answer"),
        ("Response ended prematurely", "the connection was closed in the middle of the answer"),
    ):
        if needle in text:
            return phrase
    return text.splitlines()[0] if text else type(error).__name__


class OllamaClient(object):
    """One server. `url`: http(s)://host:port; `timeout`: seconds without a byte after which a call is given up. Raises InvalidUrl, LibraryMissing."""

    def __init__(self, url, timeout=30.0):
        self.url = check_url(url)
        self.timeout = float(timeout)
        self._requests = import_requests()
        self._session = self._requests.Session()
        self._session.verify = trusted()
        if _is_loopback(self.url):
            self._session.trust_env = False  # a proxy of the environment must not get requests for this host

    # -- transport ---------------------------------------------------------------------------------------------------------------

    def _call(self, method, path, payload=None, timeout=None, stream=False):
        timeout = self.timeout if timeout is None else float(timeout)
        try:
            response = self._session.request(
                method,
                self.url + path,
                json=payload,
                timeout=(min(timeout, self.timeout), timeout),
                stream=stream,
                allow_redirects=False,
            )
            if response.status_code >= 400:
                raise OllamaError(response.status_code, self._error_text(response))
            return response
        except self._requests.exceptions.ReadTimeout:
            raise OllamaUnreachable(self.url, "nothing came for %d seconds (%s %s)" % (timeout, method, path))
        except self._requests.exceptions.RequestException as error:
            raise OllamaUnreachable(self.url, _cause(error))

    def _error_text(self, response):
        """The server's own sentence, or one for an answer that is none (a proxy, another program on the port, a refused Host header)."""
        try:
            text = response.json()["error"]
            if isinstance(text, str) and text:
                return text
        except (ValueError, KeyError, TypeError):
            pass
        if response.status_code == 403:
            return (
                "the server at %s refused the request (403): a server bound to a loopback address answers only to loopback host names"
                % self.url
            )
        return "the server at %s answered %d %s" % (self.url, response.status_code, (response.reason or "").strip())

    def _json(self, method, path, payload=None, timeout=None):
        response = self._call(method, path, payload, timeout)
        try:
            answer = response.json()
        except ValueError:
            raise OllamaError(
                response.status_code, "the answer of %s to %s is not JSON; is this an Ollama server?" % (self.url, path)
            )
        if not isinstance(answer, dict):
            raise OllamaError(
                response.status_code,
                "the answer of %s to %s is not a JSON object; is this an Ollama server?" % (self.url, path),
            )
        return answer

    def _lines(self, path, payload, stall_timeout):
        """Yield the objects of an NDJSON stream. Raises OllamaError for an error line, OllamaUnreachable when it is cut or stalls."""
        response = self._call("POST", path, dict(payload, stream=True), stall_timeout, stream=True)
        try:
            for line in response.iter_lines(chunk_size=1):  # each line as it comes, not when a buffer is full
                if not line.strip():
                    continue
                try:
                    item = json.loads(line.decode("utf-8"))
                except (ValueError, UnicodeDecodeError):
                    raise OllamaError(
                        response.status_code, "%s sent a line that is not JSON in answer to %s" % (self.url, path)
                    )
                if not isinstance(item, dict):
                    raise OllamaError(
                        response.status_code,
                        "%s sent a line that is not a JSON object in answer to %s" % (self.url, path),
                    )
                if item.get("error"):
                    raise OllamaError(response.status_code, str(item["error"]))
                yield item
        except (self._requests.exceptions.Timeout, self._requests.exceptions.ConnectionError) as error:
            # requests reports a read that times out in the middle of a body as ConnectionError("... Read timed out.")
            if "timed out" in str(error):
                raise OllamaUnreachable(self.url, "nothing came for %d seconds (POST %s)" % (stall_timeout, path))
            raise OllamaUnreachable(self.url, _cause(error))
        except self._requests.exceptions.RequestException as error:
            raise OllamaUnreachable(self.url, _cause(error))
        finally:
            response.close()

    # -- reading -----------------------------------------------------------------------------------------------------------------

    def version(self):
        """Version of the server, as text ("0.32.15")."""
        return str(self._json("GET", "/api/version").get("version", ""))

    def tags(self):
        """Models in the server's store: list of dicts (name, size bytes, digest hex without prefix, details, capabilities)."""
        return self._json("GET", "/api/tags").get("models") or []

    def ps(self):
        """Loaded models: list of dicts (name, size and size_vram bytes, digest hex, context_length tokens, expires_at)."""
        return self._json("GET", "/api/ps").get("models") or []

    def show(self, model, verbose=False, timeout=None):
        """/api/show of `model`; arrays of more than five elements are null unless `verbose` (which ships the vocabulary, megabytes). 404 if unknown."""
        return self._json("POST", "/api/show", {"model": model, "verbose": bool(verbose)}, timeout)

    def has_blob(self, digest):
        """Whether the server's store holds the blob `digest` ("sha256:<hex>")."""
        try:
            self._call("HEAD", "/api/blobs/" + digest)
        except OllamaError as error:
            if error.status == 404:
                return False
            raise
        return True

    # -- running -----------------------------------------------------------------------------------------------------------------

    def load(self, model, keep_alive=-1, timeout=LOAD_TIMEOUT, options=None):
        """Load `model` and keep it for `keep_alive` (seconds, -1 = for ever, or a Go duration such as "10m"). Returns the answer (done_reason "load")."""
        payload = {"model": model, "keep_alive": keep_alive, "stream": False}
        if options:
            payload["options"] = options
        return self._json("POST", "/api/generate", payload, timeout)

    def unload(self, model, timeout=None):
        """Take `model` off the GPUs. Returns the answer (done_reason "unload")."""
        return self._json("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False}, timeout)

    def generate(self, model, prompt, options=None, keep_alive=None, timeout=LOAD_TIMEOUT):
        """One generation, not streamed. Returns response, eval_count (tokens) and the *_duration fields (nanoseconds)."""
        payload = {"model": model, "prompt": prompt, "stream": False}
        if options:
            payload["options"] = options
        if keep_alive is not None:
            payload["keep_alive"] = keep_alive
        return self._json("POST", "/api/generate", payload, timeout)

    # -- changing ----------------------------------------------------------------------------------------------------------------

    def pull(self, model, insecure=False, progress=None, stall_timeout=120.0, attempts=PULL_ATTEMPTS, pause=PULL_PAUSE):
        """Pull `model`; a cut or stalled stream is taken up again (the server keeps what it has), `attempts` times without progress at most.

        progress: called with each line (dict: status, digest, total, completed; bytes). Returns {"blobs": {digest: bytes that came over the
        network as far as the stream told}, "attempts": n}. Raises OllamaError (final) or OllamaUnreachable (gave up).
        """
        first, last, failures, tries = {}, {}, 0, 0
        while True:
            tries += 1
            before = sum(last.values())
            try:
                for line in self._lines("/api/pull", {"model": model, "insecure": bool(insecure)}, stall_timeout):
                    if line.get("digest") and line.get("total") is not None:
                        completed = int(line.get("completed") or 0)
                        first.setdefault(line["digest"], completed)
                        last[line["digest"]] = max(completed, last.get(line["digest"], 0))
                    if progress:
                        progress(line)
                    if line.get("status") == "success":
                        return {"blobs": {digest: last[digest] - first[digest] for digest in last}, "attempts": tries}
                problem = OllamaUnreachable(self.url, "the pull of %s ended without success or error" % model)
            except OllamaUnreachable as error:
                problem = error
            except OllamaError as error:
                if not any(text in error.message.lower() for text in _RESUMABLE):
                    raise
                problem = error
            failures = 1 if sum(last.values()) > before else failures + 1
            if failures >= attempts:
                raise problem
            time.sleep(pause * 2 ** (failures - 1))

    def put_blob(self, digest, path):
        """Give the server the file at `path` as the blob `digest`, unless it has it. Raises OllamaError (400 when the digest is not the file's)."""
        if self.has_blob(digest):
            return
        try:
            with open(path, "rb") as stream:
                response = self._session.post(
                    self.url + "/api/blobs/" + digest,
                    data=stream,
                    timeout=(self.timeout, LOAD_TIMEOUT),
                    allow_redirects=False,
                )
        except self._requests.exceptions.RequestException as error:
            raise OllamaUnreachable(self.url, _cause(error))
        if response.status_code >= 400:
            raise OllamaError(response.status_code, self._error_text(response))

    def create(self, payload, progress=None, stall_timeout=300.0):
        """/api/create with `payload` (model, from | files, parameters, template, system, adapters, license, messages). Returns the status lines."""
        lines = []
        for line in self._lines("/api/create", payload, stall_timeout):
            lines.append(line)
            if progress:
                progress(line)
        if not lines or lines[-1].get("status") != "success":
            raise OllamaError(200, "the creation of %s ended without success or error" % payload.get("model"))
        return lines

    def delete(self, model):
        """Delete `model`. Raises OllamaError with status 404 when it is not there."""
        self._call("DELETE", "/api/delete", {"model": model})

    def copy(self, src, dst):
        """Give `src` a second name `dst`. Raises OllamaError with status 404 when `src` is not there."""
        self._call("POST", "/api/copy", {"source": src, "destination": dst})
