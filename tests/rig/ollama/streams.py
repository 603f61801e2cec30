# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Many clients at once that stream answers, and what became of each request."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
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
    """

    kind: str
    status: int
    at: float
    first_byte: Optional[float]
    seconds: float


class _Connection:
    """A connection that is kept while both sides want to."""

    def __init__(self, port: int, keep: bool) -> None:
        self._port, self._keep = port, keep
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
        status, first = 0, None
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
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
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            kind = BROKEN if status == 200 else LOST
        return Outcome(kind, status, at, first, time.monotonic() - at)

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


async def stream(port: int, clients: int, seconds: float, request: dict, key: str = "none") -> list[Outcome]:
    """Let so many clients ask one request after the other for a time.

    Half of them keep their connections.

    Args:
        port: on loopback.
        clients: at once.
        seconds: after which no request begins.
        request: the body for /api/generate.
        key: as bearer token.

    Returns:
        what became of each request.
    """
    body = json.dumps(request).encode()
    head = "POST /api/generate HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n" % key
    end, found = time.monotonic() + seconds, []

    async def client(number: int) -> None:
        connection = _Connection(port, number % 2 == 0)
        while time.monotonic() < end:
            found.append(await connection.ask(head, body))
            if found[-1].kind in (LOST, REFUSED):
                await asyncio.sleep(0.1)
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found
