# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Answers of servers in bounded time, size and nesting. A server may be another program, or lie."""

from __future__ import annotations

import json
import threading
from typing import Any, Callable, Iterator, TypeVar

from .attempts import ATTEMPTS

#: Bytes per second. A slower answer is given up: requests limits only the time between two bytes.
LEAST_RATE = 64 * 1024
MAX_ANSWER = 32 * 1024 * 1024  # /api/show with the vocabulary of a large model has some 20 MB
MAX_ERROR = 64 * 1024
MAX_LINE = 1024 * 1024  # of a stream
MAX_DEPTH = 32  # real answers nest up to six levels
MAX_CONTAINERS = 1000 * 1000  # objects and lists, each of which takes much more memory than its two bytes
_CHUNK = 65536
Result = TypeVar("Result")


class TookTooLong(Exception):
    """An answer was not there in time."""


class TooMuch(ValueError):
    """An answer is larger or nests deeper than any real one. The text is a phrase ("is larger than 32 MiB")."""


def seconds_for(size: int, timeout: float) -> float:
    """Return the seconds that an answer may take as a whole.

    Args:
        size: bytes of the answer at most.
        timeout: seconds without a byte. Each attempt may have none for so long.
    """
    return ATTEMPTS * timeout + size / LEAST_RATE


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return the result of work().

    It runs in a thread, because an answer that comes byte by byte blocks its reader. A thread that is given up ends
    with the process, which ends soon.

    Args:
        seconds: the most that it may take.
        work: reads an answer.

    Raises:
        TookTooLong: it took longer; `work` may raise other exceptions.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # pylint: disable=broad-except  # raised again below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.daemon = True
    thread.start()
    thread.join(max(0.0, seconds))
    if thread.is_alive():
        raise TookTooLong()
    if errors:
        raise errors[0]
    return results[0]


def body(response: Any, limit: int = MAX_ANSWER) -> bytes:
    """Return the bytes of an answer and close it. Raises TooMuch beyond `limit`, and what requests raises."""
    parts, have = [], 0
    try:
        for part in response.iter_content(_CHUNK):
            parts.append(part)
            have += len(part)
            if have > limit:
                raise TooMuch("is larger than %d KiB" % (limit // 1024))
    finally:
        response.close()
    return b"".join(parts)


def lines(response: Any, limit: int = MAX_LINE) -> Iterator[bytes]:
    """Yield the lines of an answer as they come, without their ends. Raises TooMuch for a longer one than `limit`."""
    line = bytearray()
    for part in response.iter_content(1):  # as it comes, not when a buffer is full
        line += part
        while b"\n" in part:
            first, _end, rest = bytes(line).partition(b"\n")
            yield first
            line, part = bytearray(rest), rest
        if len(line) > limit:
            raise TooMuch("has a line of more than %d KiB" % (limit // 1024))
    if line:
        yield bytes(line)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the object in a JSON text.

    Raises:
        TooMuch: it nests too deep, or has too many objects and lists.
        ValueError: it is not JSON, or no object. The text is a phrase ("is not JSON").
    """
    if raw.count(b"[") + raw.count(b"{") > MAX_CONTAINERS:
        raise TooMuch("has more than %d objects and lists" % MAX_CONTAINERS)
    try:
        value = json.loads(raw.decode("utf-8"))
    except RecursionError:
        raise TooMuch("nests more than %d levels deep" % MAX_DEPTH)
    except ValueError:
        raise ValueError("is not JSON")
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    level: list[Any] = [value]
    for _depth in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _values(outer) if isinstance(inner, (dict, list))]
        if not level:
            return value
    raise TooMuch("nests more than %d levels deep" % MAX_DEPTH)


def whole_number(value: Any) -> int:
    """Return a number of an answer, 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _values(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container
