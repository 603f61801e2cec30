# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An Ollama that runs for as long as it is used: in a unit of its own, which lies in /run and is never enabled, on a
loopback port that the kernel chooses."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..common import secrets
from ..host import listeners, systemd, units
from ..host.files import Files, WantedFile
from ..host.ownership import Ownership
from ..host.units import UnitError
from .client import OllamaClient, OllamaError

#: Section of its unit, with the port for the kernel to choose: the program of a release, as the user of a store.
SERVICE = """\
[Service]
Type=exec
User=@user@
Group=@user@
Environment=HOME=@store@
Environment=OLLAMA_MODELS=@store@
Environment=OLLAMA_HOST=127.0.0.1:0
Environment=OLLAMA_NOPRUNE=1
ExecStart=@release@/bin/ollama serve
Restart=no
KillMode=control-group
TimeoutStopSec=30
UMask=0077
LimitCORE=0
ReadWritePaths=@store@
"""
#: Longest time until the server answers. The socket is open before it has looked for GPUs.
START_SECONDS = 120.0
_ANSWER_SECONDS = 5.0
_INTERVAL = 0.2
_JOURNAL_LINES = 5


class NotStarted(Exception):
    """A server does not answer. The text is a sentence about why, and what its journal says."""


@dataclass(frozen=True)
class UnitFile:
    """A file that a unit needs: its path, its text, and its mode. It belongs to root."""

    path: str
    text: str
    mode: int = 0o644


def is_running(unit: str) -> bool:
    """Return whether a unit runs."""
    return _state(unit) in systemd.RUNNING


def is_there(unit: str) -> bool:
    """Return whether a unit runs or has not ended yet."""
    return _state(unit) not in ("", "inactive", "failed")


def _state(unit: str) -> str:
    return systemd.show([unit]).get(unit, {}).get("ActiveState", "")


def write(files: Sequence[UnitFile]) -> None:
    """Put the files of units in place. Raises FilesError."""
    at = Files(False, lambda path: path, lambda path: False)
    for file in files:
        ownership = Ownership("root", "root", file.mode)
        at.put(WantedFile(file.path, content=file.text.encode("utf-8"), ownership=ownership))


def begin(unit: str) -> str:
    """Start a unit whose file was written. Return what systemctl complains about, "" where the unit runs."""
    found = systemd.show([unit]).get(unit, {})
    if found.get("LoadState") != "loaded" or found.get("NeedDaemonReload") == "yes":
        _complaint(units.reload)
    return _complaint(units.start_and_wait, unit)


def start(unit: str) -> str:
    """Start the server of a unit whose file was written, and return its address.

    Raises:
        NotStarted: it does not answer.
    """
    begun = time.time()
    failed = begin(unit)
    limit = time.monotonic() + START_SECONDS
    said = failed
    while not failed and time.monotonic() < limit:
        if not is_running(unit):
            break
        said, address = _asked(unit)
        if address:
            return address
        time.sleep(_INTERVAL)
    raise NotStarted("%s does not answer (%s). %s" % (unit, said or "it ended", _journal(unit, begun)))


def stop(unit: str, files: Sequence[str]) -> str:
    """Stop a unit, if it runs, and remove its files. Return what systemctl complains about, "" where it has stopped.

    Args:
        unit: its name.
        files: their paths; the first is that of the unit.
    """
    complaint = ""
    if os.path.lexists(files[0]) or _state(unit) not in ("", "inactive"):
        complaint = _complaint(units.stop, [unit])
        _complaint(units.reset_failed, [unit])
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return complaint


def _asked(unit: str) -> tuple[str, str]:
    """(what is wrong, address) of a server."""
    ports = [entry["port"] for entry in listeners.listeners() if entry["unit"] == unit]
    if not ports:
        return "it does not listen yet", ""
    url = "http://127.0.0.1:%d" % ports[0]
    try:
        OllamaClient(url, _ANSWER_SECONDS).version()
    except OllamaError as error:
        return error.message, ""
    return "", url


def _journal(unit: str, since: float) -> str:
    lines, why = systemd.journal(unit, since - 1)
    if not lines:
        return "Its journal has no lines%s." % (" (%s)" % why if why else "")
    shown = [secrets.without_credentials(line.strip()) for line in lines[-_JOURNAL_LINES:]]
    return "The last lines of its journal: %s" % " | ".join(shown)


def _complaint(tell: Callable[..., None], *arguments: Any) -> str:
    """Tell systemd something; return what it complains about, "" where it does what it was told."""
    try:
        tell(*arguments)
    except UnitError as error:
        return str(error)
    return ""
