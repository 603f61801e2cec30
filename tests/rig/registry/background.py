# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Start and stop the server in the background, and talk to its control interface."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from tests.rig.settings import RigError

_CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


def start(directory: pathlib.Path, state: pathlib.Path, addresses: list[str], port: int = 0) -> dict:
    """Start a server unless that of this state file runs; return {'pid', 'port', 'addresses'}."""
    running = status(state)
    if running:
        return running
    state.parent.mkdir(parents=True, exist_ok=True)
    log = state.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.rig.registry", str(directory), str(state), str(port), *addresses],
            cwd=_CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        running = status(state)
        if running:
            return running
        time.sleep(0.05)
    reason = (log.read_text().strip().splitlines() or ["no output"])[-1]
    raise RigError(f"The registry did not start: {reason}")


def status(state: pathlib.Path) -> dict | None:
    """The running server, or None. A pid that belongs to another program now does not count."""
    try:
        found = json.loads(state.read_text())
        command = pathlib.Path(f"/proc/{found['pid']}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return found if b"tests.rig.registry" in command and os.fsencode(state) in command else None


def stop(state: pathlib.Path) -> bool:
    """Stop the server; return whether one was running."""
    running = status(state)
    if not running:
        return False
    os.kill(running["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 60
    while status(state) and time.monotonic() < deadline:
        time.sleep(0.02)
    if status(state):
        with contextlib.suppress(ProcessLookupError):
            os.kill(running["pid"], signal.SIGKILL)
    state.unlink(missing_ok=True)
    return True


def control(running: dict, method: str, name: str, body: dict | None = None) -> list:
    """Call /control/NAME (faults, requests, models); RigError with the message of the server if it refuses."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running['port']}/control/{name}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RigError(json.load(error)["errors"][0]["message"]) from error
    except OSError as error:
        raise RigError(f"The registry does not answer on port {running['port']}: {error}") from error
