# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run calls at the same time: servers are asked side by side, and a unit is looked at while its server works."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Iterable

from ..host import proc
from ..ollama.client import OllamaError

POLL_SECONDS = 0.5


def in_parallel(calls: Iterable[Callable[[], Any]]) -> None:
    """Run calls in threads and wait for all of them; the first exception of any of them is raised here."""
    problems = []

    def guarded(call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # pylint: disable=broad-except
            problems.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def while_active(unit: str, timeout: float, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a call to a server that answers only when it is done, and return its answer.

    Args:
        unit: of the server.
        timeout: seconds for which the unit may be idle.
        call: what is run.

    Raises:
        OllamaError: of the call, or the unit is idle for too long.
    """
    answers: list[dict[str, Any]] = []
    errors: list[OllamaError] = []

    def work() -> None:
        try:
            answers.append(call())
        except OllamaError as error:
            errors.append(error)
        except Exception as error:  # pylint: disable=broad-except
            errors.append(OllamaError(None, "%s: %s" % (type(error).__name__, error)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    last, since = None, time.monotonic()
    while True:
        worker.join(POLL_SECONDS)
        if not worker.is_alive():
            break
        now = proc.activity(unit)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > timeout:
            raise OllamaError(None, "%s has made no progress for %g seconds" % (unit, timeout))
    if errors:
        raise errors[0]
    return answers[0]
