# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Many clients at once that stream answers, and what became of each request."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import time
from collections.abc import Callable
from typing import Optional

#: What became of a request: answered to its end; an answer that had begun and broke off, which the client sees; refused
#: with a status; no answer at all.
WHOLE, BROKEN, REFUSED, LOST = "whole", "broken", "refused", "lost"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        kind: one of the words above.
        status: of the answer; 0 = there was none.
        at: seconds on the clock when it was sent.
        first_byte: seconds until the head of the answer was there.
        seconds: until its end.
        error: what the client saw where it is neither whole nor refused.
    """

    kind: str
    status: int
    at: float
    first_byte: Optional[float]
    seconds: float
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Target:
    """What is asked.

    Attributes:
        port: of the server.
        host: its name or address.
        key: sent as bearer token.
        context: for TLS; None = plain HTTP.
    """

    port: int
    host: str = "127.0.0.1"
    key: str = "none"
    context: Optional[ssl.SSLContext] = None


class _Connection:
    """A connection that is kept while both sides want to."""

    def __init__(self, target: Target, keep: bool) -> None:
        self._target, self._keep = target, keep
        self._streams: Optional[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = None

    async def ask(self, head: str, body: bytes) -> Outcome:
        """Ask once. A kept connection that the other side has closed in the meantime is opened again, as every client
        does."""
        at = time.monotonic()
        for fresh in (False, True) if self._streams else (True,):
            outcome = await self._ask(head, body, at)
            if outcome.kind != LOST or fresh:
                return outcome
        return outcome

    async def _ask(self, head: str, body: bytes, at: float) -> Outcome:
        status, first, seen = 0, None, ""
        try:
            if self._streams is None:
                to = self._target
                self._streams = await asyncio.open_connection(to.host, to.port, ssl=to.context)
            reader, writer = self._streams
            kept = "keep-alive" if self._keep else "close"
            writer.write((head + "Connection: %s\r\nContent-Length: %d\r\n\r\n" % (kept, len(body))).encode() + body)
            await writer.drain()
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            status, first = int(lines[0].split(" ")[1]), time.monotonic() - at
            await _rest(reader, lines)
            if not self._keep or "connection: close" in lines:
                self.close()
            kind = WHOLE if status == 200 else REFUSED
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.close()
            kind, seen = BROKEN if status == 200 else LOST, repr(error)
        return Outcome(kind, status, at, first, time.monotonic() - at, seen)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def _rest(reader: asyncio.StreamReader, lines: list[str]) -> None:
    """Read a body to its end; IncompleteReadError where it has none."""
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), None)
    if length is not None:
        await reader.readexactly(length)
        return
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16)
        await reader.readexactly(size + 2)
        if size == 0:
            return


def after(seconds: float) -> Callable[[], bool]:
    """A condition that holds when a time, which begins now, is over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


async def stream(target: Target, clients: int, over: Callable[[], bool], request: dict) -> list[Outcome]:
    """Let so many clients ask one request after the other.

    Half of them keep their connections.

    Args:
        target: what they ask.
        clients: at once.
        over: when this holds, no request begins any more.
        request: the body for /api/generate.

    Returns:
        what became of each request.
    """
    body = json.dumps(request).encode()
    head = "POST /api/generate HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n" % (target.host, target.key)
    found: list[Outcome] = []

    async def client(number: int) -> None:
        connection = _Connection(target, number % 2 == 0)
        while not over():
            found.append(await connection.ask(head, body))
            if found[-1].kind in (LOST, REFUSED):
                await asyncio.sleep(0.1)
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found
