# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Wait until instances answer no request, before they are stopped.

Whether a request runs is told by the engine: /slots of llama-server has `is_processing` for each of its slots (on by
default, common/common.h `endpoint_slots`; Ollama 0.32.15 starts it with neither --no-slots nor a key, see
llm/llama_server.go). /api/ps of Ollama does not tell it: `expires_at` moves on only when a request has ended
(server/sched.go). What waits in Ollama for a model that is being loaded is told by nobody. An engine that does not
answer, such as those before llama-server, counts as quiet.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..evidence import engines

#: Between two looks. An instance is quiet when two looks after each other find no request.
POLL_SECONDS = 0.5
_TIMEOUT_SECONDS = 2.0
_LARGEST_ANSWER = 1024 * 1024


@dataclass(frozen=True)
class Quiet:
    """How waiting ended: after how many `seconds`, and the units that were `busy` at the end of the time."""

    seconds: float = 0.0
    busy: tuple[str, ...] = ()


def wait_for_quiet(units: Iterable[str], timeout: float) -> Quiet:
    """Wait until the engines of units answer no request.

    Args:
        units: of the instances that are to be stopped.
        timeout: seconds after which it is enough; 0 does not wait at all.
    """
    begun = time.monotonic()
    wanted = list(units)
    looks = 0
    while timeout > 0 and wanted:
        busy = tuple(unit for unit in wanted if is_busy(unit))
        looks = 0 if busy else looks + 1
        if looks == 2:
            break
        if time.monotonic() - begun >= timeout:
            return Quiet(round(time.monotonic() - begun, 2), busy)
        time.sleep(POLL_SECONDS)
    return Quiet(round(time.monotonic() - begun, 2))


def is_busy(unit: str) -> bool:
    """Return whether an engine of a unit is known to work on a request."""
    ports = [engine.port for engine in engines.engines(unit, with_mapped=False) if engine.port]
    return any(slot.get("is_processing") is True for port in ports for slot in _slots(port))


def _slots(port: int) -> list[dict[str, Any]]:
    """The slots of an engine, [] where it does not tell."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        connection.request("GET", "/slots")
        response = connection.getresponse()
        if response.status == http.client.OK:
            found = json.loads(response.read(_LARGEST_ANSWER))
            return [slot for slot in found if isinstance(slot, dict)] if isinstance(found, list) else []
    return []
