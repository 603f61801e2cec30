# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask servers for answers as streams, several at the same time, and take the time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..ollama import bounded
from ..ollama.client import OllamaClient
from ..ollama.connection import OllamaError, OllamaUnreachable
from .figures import Batch, Request

#: An answer of a few hundred tokens has some 100 KiB as lines of JSON.
_LARGEST_ANSWER = 64 * 1024 * 1024
_WORDS = "the sea is wide and blue while a small boat goes home".split()


def prompt(words: int, number: int) -> str:
    """Return a prompt of about so many tokens. No two numbers begin alike, so that no server has read one before."""
    return " ".join(["%d:" % number] + [_WORDS[(number + place) % len(_WORDS)] for place in range(max(words - 2, 1))])


class Streaming(OllamaClient):
    """A client that takes the time of a stream. It reads as little as it can, so that it measures the server."""

    def request(self, model: str, text: str, tokens: int, keep_alive: Any) -> Request:
        """Send one request, and wait for its answer.

        Args:
            model: name of the model.
            text: the prompt.
            tokens: most tokens of the answer.
            keep_alive: as the API takes it.

        Raises:
            OllamaError: it was refused or ended with an error.
        """
        payload = {"model": model, "prompt": text, "stream": True, "keep_alive": keep_alive}
        payload["options"] = {"temperature": 0, "num_predict": tokens}
        begun = time.monotonic()
        response = self._call("POST", "/api/generate", payload, self.timeout, stream=True)
        first, last = None, b""
        try:
            for part in self._parts(response):
                first = first or time.monotonic()
                last = (last + part)[-bounded.MAX_LINE :]
        except self._requests.exceptions.RequestException as error:
            raise OllamaUnreachable(self.url, "it has ended an answer early (%s)" % type(error).__name__) from error
        ended = time.monotonic()
        answer = self._object(last.rstrip(b"\n").rpartition(b"\n")[2], 200, "the answer to /api/generate")
        if answer.get("error") or answer.get("done") is not True:
            raise OllamaError(200, str(answer.get("error") or "the answer is not complete"))
        return Request.of(answer, (first or ended) - begun, ended - begun)

    def _parts(self, response: Any) -> Iterator[bytes]:
        """What arrives, as it arrives."""
        have = 0
        try:
            for part in response.iter_content(chunk_size=None):
                have += len(part)
                if have > _LARGEST_ANSWER:
                    raise OllamaError(200, "an answer of %s is larger than 64 MiB" % self.url)
                yield part
        finally:
            response.close()


def together(clients: Sequence[Streaming], model: str, texts: Sequence[str], tokens: int, keep_alive: Any) -> Batch:
    """Send one request with each client at the same time.

    Args:
        clients: each with a connection of its own.
        model: name of the model.
        texts: a prompt for each client.
        tokens: most tokens of an answer.
        keep_alive: as the API takes it.

    Raises:
        OllamaError: one of them has failed.
    """
    begun = time.monotonic()
    with ThreadPoolExecutor(len(clients)) as pool:
        waiting = [pool.submit(client.request, model, text, tokens, keep_alive) for client, text in zip(clients, texts)]
        requests = [one.result() for one in waiting]
    return Batch(requests, time.monotonic() - begun)
