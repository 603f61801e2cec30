# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Wait until services that were started answer, and no longer than they run."""

from __future__ import annotations

import functools
import time
from dataclasses import asdict, dataclass
from typing import Any, Optional, Sequence

from ..common import secrets
from ..host import systemd
from ..ollama.client import OllamaClient, OllamaError
from . import start_problems
from .concurrency import in_parallel

_INTERVAL = 0.3
#: A server accepts connections while it looks for GPUs, and answers afterwards: the question is asked again.
_ANSWER_SECONDS = 5.0
#: A server that answers an error for so long goes on answering it.
_ERROR_SECONDS = 15.0
_SHORTEST_SECRET = 4  # characters; shorter ones are parts of other words


@dataclass(frozen=True)
class Readiness:
    """What became of a service: its `version`, or the `problem` in sentences."""

    unit: str
    url: str
    version: Optional[str] = None
    problem: Optional[str] = None


def wait_for(instances: Sequence[dict[str, str]], timeout: float) -> list[dict[str, Any]]:
    """Wait for all instances at the same time.

    Args:
        instances: [{unit, url}].
        timeout: seconds that each may take.

    Returns:
        [{unit, url, version, problem}], in the same order.

    Raises:
        InvalidUrl: a url is wrong.
        LibraryMissing: requests is not installed.
    """
    found: dict[int, Readiness] = {}
    clients = [OllamaClient(one["url"], _ANSWER_SECONDS) for one in instances]

    def wait(place: int) -> None:
        found[place] = _wait(instances[place]["unit"], clients[place], timeout)

    in_parallel([functools.partial(wait, place) for place in range(len(instances))])
    return [asdict(found[place]) for place in range(len(instances))]


def _wait(unit: str, client: OllamaClient, timeout: float) -> Readiness:
    begin, begin_date = time.monotonic(), time.time()
    restarts, said, answers_since = None, "no answer", None
    while True:
        properties = systemd.show([unit]).get(unit, {})
        if start_problems.has_ended(properties, restarts):
            return Readiness(unit, client.url, problem=_ended(unit, properties, begin_date))
        if restarts is None:
            restarts = start_problems.number_of_restarts(properties)
        # A job that is not done yet may be about to stop the process of before, which answers as well.
        if properties.get("Job", "0") in ("", "0"):
            try:
                return Readiness(unit, client.url, version=client.version())
            except OllamaError as error:
                said = error.message
                answers_since = None if error.status is None else answers_since or time.monotonic()
        now = time.monotonic()
        if answers_since is not None and now - answers_since > _ERROR_SECONDS:
            lines = _journal(unit, properties, begin_date)
            return Readiness(
                unit, client.url, problem="%s runs and answers with an error: %s.%s" % (unit, said, _told(lines))
            )
        if now - begin > timeout:
            lines = _journal(unit, properties, begin_date)
            return Readiness(
                unit,
                client.url,
                problem="%s runs and has not answered for %g seconds (%s). %s%s"
                % (unit, timeout, said, start_problems.cause(unit, properties, lines)[1], _told(lines)),
            )
        time.sleep(_INTERVAL)


def _ended(unit: str, properties: dict[str, str], since: float) -> str:
    lines = _journal(unit, properties, since)
    return "%s ended right after its start (systemd: %s). %s%s" % (
        unit,
        properties.get("Result") or properties.get("ActiveState") or "unknown",
        start_problems.cause(unit, properties, lines)[1],
        _told(lines),
    )


def _told(lines: Sequence[str]) -> str:
    return " Its last lines: %s" % " | ".join(lines) if lines else " Its journal has no lines."


def _journal(unit: str, properties: dict[str, str], since: float) -> list[str]:
    """The end of the journal of a unit since a moment before its start, without secrets of its environment."""
    lines, _why = systemd.journal(unit, since - 30)
    lines = lines[-start_problems.MOST_LINES :]
    values = [
        str(value)
        for value in secrets.secret_values(systemd.environment(properties)).values()
        if len(str(value)) >= _SHORTEST_SECRET
    ]
    shown = []
    for line in lines:
        for value in sorted(values, key=len, reverse=True):
            line = line.replace(value, secrets.HIDDEN)
        shown.append(secrets.without_credentials(line))
    return start_problems.last_lines(shown)
