# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Connections to Ollama servers: their addresses, the certificates that are trusted, and the errors."""

from __future__ import annotations

import ipaddress
import os
import ssl
import urllib.parse
from typing import Any, Callable

from ..common import secrets
from . import bounded, failed_requests

# Seconds by which the limit of a whole answer is longer than that of requests, which has the better words.
SPARE = 1.0


class OllamaError(Exception):
    """The server answered with an error.

    `status` is the HTTP status: 200 for an error line in a stream, None without an answer. `message` is the text.
    """

    def __init__(self, status: int | None, message: str) -> None:
        message = secrets.without_credentials(message)
        super().__init__(message)
        self.status = status
        self.message = message


class OllamaUnreachable(OllamaError):
    """The server gave no answer; `cause` says why (refused, unknown host, closed, stalled)."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(None, "cannot reach the Ollama server at %s: %s" % (url, cause))
        self.url = url
        self.cause = cause


class InvalidUrl(OllamaError):
    """A url is not the address of an Ollama server."""

    def __init__(self, url: object, reason: str) -> None:
        shown = secrets.shown_address(url) if isinstance(url, str) else url
        super().__init__(None, "url %r %s; give it as http://host:port" % (shown, reason))


def check_url(url: Any) -> str:
    """Return a url without a trailing slash. Raises InvalidUrl unless it is http(s)://host[:port]."""
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
        raise InvalidUrl(url, "contains a user name or password, which Ollama does not support")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidUrl(url, "has a path, query or fragment")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether a url leads to this host."""
    host = urllib.parse.urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trusted() -> str | bool:
    """Return the certificates for `Session.verify`: the system's list where there is one.

    Ollama does the same, so that a private certificate authority of the host is trusted.
    """
    path = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    return path if os.path.exists(path) and not os.environ.get("REQUESTS_CA_BUNDLE") else True


def answer_within(exceptions: Any, url: str, seconds: tuple[float, float], what: str, work: Callable[[], Any]) -> Any:
    """Return the result of work(), which reads an answer, or a part of one.

    Args:
        exceptions: those of requests.
        url: of the server.
        seconds: (that the whole may take, without a byte after which requests gives up).
        what: method and path.
        work: raises what requests raises, or TooMuch.

    Raises:
        OllamaUnreachable: it took longer, or there is no answer.
        OllamaError: the answer is too large.
    """
    limit, silence = seconds
    try:
        return bounded.within(limit + SPARE, work)
    except bounded.TookTooLong:
        raise OllamaUnreachable(url, "it was not done with its answer after %d seconds (%s)" % (limit, what))
    except bounded.TooMuch as error:
        raise OllamaError(200, "the answer of %s to %s %s; is this an Ollama server?" % (url, what, error))
    except exceptions.RequestException as error:
        # requests reports a read that times out in the middle of a body as ConnectionError("... Read timed out.")
        if isinstance(error, exceptions.ReadTimeout) or "Read timed out" in str(error):
            raise OllamaUnreachable(url, "it sent nothing for %d seconds (%s)" % (silence, what))
        phrase = failed_requests.phrase(error)
        hint = "; is the service running?" if phrase == failed_requests.REFUSED else ""
        raise OllamaUnreachable(url, phrase + hint)
