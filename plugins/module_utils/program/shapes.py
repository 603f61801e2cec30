# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the commands of the host's program share: exit codes, and an answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..common import paths
from ..evidence.shapes import FAIL, PASS, UNPROVEN

#: Exit codes. A run that holds the lock is no failure: it proves the host itself.
FINE, DIFFERS, NOT_PROVEN, NO_PLAN, CANNOT, USAGE = 0, 1, 2, 3, 4, 64
#: Exit code of a verdict.
OF_VERDICT = {PASS: FINE, FAIL: DIFFERS, UNPROVEN: NOT_PROVEN}

#: Levels of a line, as sd-daemon(3) and syslog have them.
ERROR, WARNING, INFO = 3, 4, 6
LEVEL_OF_VERDICT = {PASS: INFO, FAIL: ERROR, UNPROVEN: WARNING}


@dataclass(frozen=True)
class Line:
    """A line for people; `level` is what the journal gets with it."""

    text: str
    level: int = INFO


@dataclass(frozen=True)
class Answer:
    """What a command answers: the exit code, lines for people, and the same as data.

    `text` is printed as it is, in the place of the lines: what a program reads.
    """

    code: int
    lines: list[Line] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True)
class Places:
    """Where the program finds and keeps things; elsewhere in tests only."""

    plan: str = paths.PLAN
    instances: str = paths.ENVIRONMENT_DIRECTORY
    verdict: str = paths.VERDICT
    healing: str = paths.HEALING
    lock: str = paths.LOCK
    metrics: str = paths.METRICS_SETTINGS
    root: str = "/"
    benchmark_lock: str = paths.BENCHMARK_LOCK


class Refused(Exception):
    """A command cannot do its work. The text is a sentence, `code` the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
