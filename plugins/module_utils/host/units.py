# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Stop, start, enable and disable units, and let systemd read its units again."""

from __future__ import annotations

from collections.abc import Sequence

from .command import ask

#: A unit that does not end is killed by systemd after its TimeoutStopSec, which is a minute.
_STOP_SECONDS = 150
#: Longest time that the start of a server may take to be begun.
_START_SECONDS = 90
_SECONDS = 60


class UnitError(Exception):
    """Systemd does not do what it is told. The text is one sentence."""


def stop(units: Sequence[str]) -> None:
    """Stop units, and wait until they have ended. One that systemd does not know is none that runs.

    Raises:
        UnitError: one cannot be stopped.
    """
    _systemctl(["stop"], units, _STOP_SECONDS, unknown_is_fine=True)


def start(units: Sequence[str]) -> None:
    """Start units, and do not wait: why a start fails is told by their journal (evidence/readiness.py).

    Raises:
        UnitError: systemd does not know one of them.
    """
    _systemctl(["start", "--no-block"], units, _SECONDS)


def load(units: Sequence[str]) -> None:
    """Let units that load something load it again, and wait until they have. Raises UnitError."""
    _systemctl(["reload-or-restart"], units, _SECONDS)


def enable(units: Sequence[str]) -> None:
    """Let units start at boot. Raises UnitError."""
    _systemctl(["enable", "--quiet"], units, _SECONDS)


def disable(units: Sequence[str]) -> None:
    """Let units not start at boot any more. Raises UnitError."""
    _systemctl(["disable", "--quiet"], units, _SECONDS, unknown_is_fine=True)


def reload() -> None:
    """Let systemd read its units again. Raises UnitError."""
    _systemctl(["daemon-reload"], [], _SECONDS)


def start_and_wait(unit: str) -> None:
    """Start a unit, and wait until systemd has begun it. Raises UnitError."""
    _systemctl(["start"], [unit], _START_SECONDS)


def reset_failed(units: Sequence[str]) -> None:
    """Let systemd forget that units have failed. Raises UnitError."""
    _systemctl(["reset-failed"], units, _SECONDS, unknown_is_fine=True)


def _systemctl(verb: Sequence[str], units: Sequence[str], timeout: float, unknown_is_fine: bool = False) -> None:
    if not units and verb[0] != "daemon-reload":
        return
    try:
        status, _text, complaints = ask(["systemctl", "--no-ask-password", *verb, *units], timeout=timeout)
    except OSError as error:
        raise UnitError("systemctl %s %s: %s" % (verb[0], " ".join(units), error))
    lines = [line for line in complaints.splitlines() if line.strip()]
    if status == 0 or (unknown_is_fine and lines and all(_is_unknown(line) for line in lines)):
        return
    raise UnitError(
        "systemctl %s %s ends with status %d: %s"
        % (verb[0], " ".join(units), status, " ".join(lines) or "it does not say why")
    )


def _is_unknown(line: str) -> bool:
    return "not loaded" in line or "does not exist" in line or "not found" in line
