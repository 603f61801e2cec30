# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far a pull has come by what the server says, and when it is given up. The times are given by the caller.

A server may be another program, or lie. So a pull ends for certain: its bytes and steps have a limit, and they must
come at a least rate.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

from . import bounded

STALLS = 5  # timeouts within which a pull has to make progress
MAX_STEPS = 1000  # of a pull: a few for each layer
MAX_BYTES = 4 * 1024**4  # of all blobs that the manifest is not known to have; the largest models have some 1.5 TB
LEAST_RATE = 8 * 1024  # bytes per second
_LONGEST = 200  # characters of a status or digest

# Messages of a failed pull that a further attempt can continue. Others (unknown tag, wrong digest) are final.
_RESUMABLE = (
    "unexpected eof",
    "connection reset",
    "max retries exceeded",
    "broken pipe",
    "i/o timeout",
    "tls handshake timeout",
    "context deadline exceeded",
)


class TooLarge(Exception):
    """A server says that a blob is larger than it can be. The text is a sentence without its end."""


class TooSlow(Exception):
    """A pull makes no progress. The text is a sentence without its end."""


class PullProgress:
    """Progress of one pull over all its attempts. An attempt has to receive LEAST_RATE on average over STALLS timeouts,
    or to reach another step or the end of a blob in that time.

    Args:
        stall_timeout: seconds.
        sizes: {digest: bytes} of the blobs in the manifest of the registry, as far as it is known.
        report: is told of each line how many bytes are there, and how many the model has as far as is known.
    """

    def __init__(
        self, stall_timeout: float, sizes: Mapping[str, int], report: Callable[[int, int], None] | None = None
    ) -> None:
        self._window = STALLS * stall_timeout
        self._sizes = sizes
        self._report = report
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._unlisted: dict[str, int] = {}
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """Begin an attempt. A server that has lost what it had may begin again from 0."""
        self._steps: dict[tuple[str, str], int] = {}
        self._ended: set[tuple[str, str]] = set()
        self._since = now
        self._times: list[float] = []  # of the first line about a blob, and of the last that was a gain
        self._before = self.received()
        self._received = 0  # in this attempt since `since`

    def note(self, line: Mapping[str, Any], now: float) -> None:
        """Take note of a line of the server.

        Raises:
            TooLarge: it names a blob that is too large.
            TooSlow: the attempt makes no progress.
        """
        digest, completed = str(line.get("digest"))[:_LONGEST], bounded.whole_number(line.get("completed"))
        total = bounded.whole_number(line.get("total"))
        self._check_size(digest, total)
        step = (str(line.get("status"))[:_LONGEST], digest)
        if completed <= total and (step in self._steps or len(self._steps) < MAX_STEPS):
            if line.get("digest") and line.get("total") is not None:
                self._receive(digest, completed, now)
                if self._report is not None:
                    self._report(self.received(), max(self.received(), self._total()))
            if self._is_progress(step, completed, total, now):
                self._since, self._received = now, 0
        if now - self._since > self._window:
            raise TooSlow(
                "the pull made no progress for %d seconds (less than %d KiB/s)" % (self._window, LEAST_RATE // 1024)
            )

    def _check_size(self, digest: str, total: int) -> None:
        if digest in self._sizes:
            if total > self._sizes[digest]:
                raise TooLarge(
                    "it says that the blob %s has %d bytes, more than the %d in the registry's manifest"
                    % (digest, total, self._sizes[digest])
                )
        elif total > 0:
            self._unlisted[digest] = max(total, self._unlisted.get(digest, 0))
            if len(self._unlisted) > MAX_STEPS:
                raise TooLarge("it says that the model has more than %d blobs" % MAX_STEPS)
            if sum(self._unlisted.values()) > MAX_BYTES:
                raise TooLarge(
                    "it says that blobs have %d bytes, more than the %d TiB of any model"
                    % (sum(self._unlisted.values()), MAX_BYTES // 1024**4)
                )

    def _receive(self, digest: str, completed: int, now: float) -> None:
        self._first.setdefault(digest, completed)
        self._times = self._times or [now, now]
        if completed > self._last.get(digest, -1):
            self._last[digest] = completed
            self._times[1] = now

    def _is_progress(self, step: tuple[str, str], completed: int, total: int, now: float) -> bool:
        new = step not in self._steps
        if not new:
            self._received += max(0, completed - self._steps[step])
        self._steps[step] = max(completed, self._steps.get(step, 0))
        ends = completed == total and step not in self._ended  # once, because a liar's total grows along
        if ends:
            self._ended.add(step)
        return new or ends or self._received >= LEAST_RATE * self._window

    def received(self) -> int:
        """Return the bytes of all blobs that the server has."""
        return sum(self._last.values())

    def _total(self) -> int:
        return sum(self._sizes.values()) + sum(self._unlisted.values())

    def attempt_helped(self) -> bool:
        """Return whether this attempt received something that the earlier ones had not, at the least rate."""
        gained = self.received() - self._before
        return gained > 0 and gained >= LEAST_RATE * (self._times[1] - self._times[0])

    def blobs(self) -> dict[str, int]:
        """Return {digest: bytes over the network, as far as the server says}."""
        return {digest: last - self._first[digest] for digest, last in self._last.items()}


def can_resume(message: str) -> bool:
    """Return whether a further attempt can continue a pull that failed with this message of the server."""
    return any(text in message.lower() for text in _RESUMABLE)
