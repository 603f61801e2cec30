# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Requests to an Ollama server and their answers, as a whole or line by line.

A streamed call that fails has HTTP status 200 and a last line `{"error": ...}`. Timeouts are in seconds without a byte.
An answer, or a line of a stream, that comes byte by byte is given up soon after the timeout.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator

from ..common.libraries import import_requests
from . import bounded
from .connection import OllamaError, answer_within, check_url, is_loopback, trusted

#: Of an entry in a list of models.
_NUMBERS = ("size", "size_vram", "context_length")


class Transport:
    """Connections to one server.

    Args:
        url: http(s)://host:port.
        timeout: seconds without a byte after which a request is given up.

    Raises:
        InvalidUrl: the url is wrong.
        LibraryMissing: requests is not installed.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = check_url(url)
        self.timeout = float(timeout)
        self._requests = import_requests()
        self._session = self._requests.Session()
        self._session.verify = trusted()
        self._session.get_redirect_target = lambda response: None  # else requests reads the whole body of a redirect
        self._session.headers["Accept-Encoding"] = "identity"  # a few compressed bytes could become very many
        if is_loopback(self.url):
            self._session.trust_env = False  # requests for this host must not go to a proxy of the environment

    def _call(
        self, method: str, path: str, payload: Any = None, timeout: float | None = None, stream: bool = False
    ) -> Any:
        """Return the response. Raises OllamaError for an error status, OllamaUnreachable without an answer."""
        timeout = self.timeout if timeout is None else float(timeout)
        what = "%s %s" % (method, path)
        connect = min(timeout, self.timeout)
        response = self._within(
            connect + timeout,
            timeout,
            what,
            lambda: self._session.request(
                method, self.url + path, json=payload, timeout=(connect, timeout), stream=True, allow_redirects=False
            ),
        )
        if response.status_code >= 400:
            raise OllamaError(response.status_code, self._error_text(response))
        if not stream:
            # Read here, so that the connection is used again.
            response.body = self._within(2 * self.timeout, self.timeout, what, lambda: bounded.body(response))
        return response

    def _within(self, limit: float, timeout: float, what: str, work: Callable[[], Any]) -> Any:
        return answer_within(self._requests.exceptions, self.url, (limit, timeout), what, work)

    def _error_text(self, response: Any) -> str:
        """Return the server's error, or a sentence for an answer without one (a proxy, another program on the port)."""
        try:
            raw = bounded.within(self.timeout, lambda: bounded.body(response, bounded.MAX_ERROR))
            text = bounded.parse_object(raw)["error"]
            if isinstance(text, str) and text:
                return text
        except (ValueError, KeyError, bounded.TookTooLong, self._requests.exceptions.RequestException):
            pass
        if response.status_code == 403:
            return (
                "the server at %s refused the request (403): a server bound to a loopback address answers only to "
                "loopback host names" % self.url
            )
        return "the server at %s answered %d %s" % (self.url, response.status_code, (response.reason or "").strip())

    def _json(self, method: str, path: str, payload: Any = None, timeout: float | None = None) -> dict[str, Any]:
        response = self._call(method, path, payload, timeout)
        return self._object(response.body, response.status_code, "the answer to %s" % path)

    def _object(self, raw: bytes, status: int, what: str) -> dict[str, Any]:
        try:
            return bounded.parse_object(raw)
        except ValueError as error:
            raise OllamaError(status, "%s from %s %s; is this an Ollama server?" % (what, self.url, error))

    def _models(self, path: str) -> list[dict[str, Any]]:
        """Return the entries of a list of models. Each has a `name`; its figures are numbers, or missing."""
        models = self._json("GET", path).get("models") or []
        if not isinstance(models, list) or not all(isinstance(entry, dict) for entry in models):
            raise OllamaError(200, "%s from %s has no list of models; is this an Ollama server?" % (path, self.url))
        named = [dict(entry, name=entry.get("name") or entry.get("model")) for entry in models]
        if not all(isinstance(entry["name"], str) and entry["name"] for entry in named):
            raise OllamaError(
                200, "%s from %s lists a model without a name; is this an Ollama server?" % (path, self.url)
            )
        return [
            {key: value for key, value in entry.items() if key not in _NUMBERS or _is_whole(value)} for entry in named
        ]

    def _lines(self, path: str, payload: dict[str, Any], stall_timeout: float) -> Iterator[dict[str, Any]]:
        """Yield the objects of an NDJSON stream.

        Raises:
            OllamaError: for an error line.
            OllamaUnreachable: the stream is closed early or stalls.
        """
        response = self._call("POST", path, dict(payload, stream=True), stall_timeout, stream=True)
        found = bounded.lines(response)
        try:
            while True:
                line = self._within(stall_timeout, stall_timeout, "POST " + path, lambda: next(found, None))
                if line is None:
                    return
                if not line.strip():
                    continue
                item = self._object(line, response.status_code, "a line of the answer to %s" % path)
                if item.get("error"):
                    raise OllamaError(response.status_code, str(item["error"]))
                yield item
        finally:
            response.close()


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
