# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run calls at the same time: servers are asked side by side."""

from __future__ import annotations

import threading
from typing import Any, Callable, Iterable


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
