# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command `gpus`: wait for the GPUs that are planned, before an instance starts."""

from __future__ import annotations

import time
from typing import Any

from ..common.missing_gpus import Missing, missing_gpus
from ..gpu import nvml, schema
from ..host import proc
from .configured import configured
from .observing import NVML_SECONDS
from .shapes import DIFFERS, ERROR, FINE, Answer, Line, Places, Refused

_LOOK_SECONDS = 1.0
#: systemd itself: its start is that of the host.
_FIRST_PROCESS = 1


def wait_for_gpus(places: Places, seconds: float) -> Answer:
    """Wait until all planned GPUs can be used, and say which are missing.

    The limit counts from the boot: a GPU that is missing on a host that has been up for long delays no restart.

    Args:
        places: of the host.
        seconds: the limit.
    """
    try:
        users = _users(places)
    except Refused as refused:  # before the first plan
        return Answer(FINE, [Line(str(refused))], {"missing": []})
    while True:
        inventory = nvml.read_inventory(NVML_SECONDS)[0] if users else {}
        missing = missing_gpus(sorted(users), inventory)
        # A library that is missing does not come by waiting.
        if not missing or inventory.get("state") == schema.NO_BINDING or _up() >= seconds:
            break
        time.sleep(_LOOK_SECONDS)
    if not missing:
        return Answer(
            FINE, [Line("All planned GPUs are there: %s." % (", ".join(sorted(users)) or "none"))], {"missing": []}
        )
    return Answer(
        DIFFERS,
        [_missing_line(uuid, missing[uuid], users[uuid], inventory) for uuid in missing],
        {"missing": list(missing)},
    )


def _missing_line(uuid: str, why: Missing, instances: list[str], inventory: dict[str, Any]) -> Line:
    reason = inventory.get("reason") if inventory.get("state") != schema.OK else None
    return Line(
        "GPU %s of instance %s %s: %s. Remedy: %s"
        % (
            uuid,
            " and ".join(instances),
            "cannot be used" if why.listed else "is not there",
            reason or why.reason,
            inventory.get("remedy") or why.remedy,
        ),
        ERROR,
    )


def _users(places: Places) -> dict[str, list[str]]:
    """{uuid: names of the instances that are planned on it}."""
    users: dict[str, list[str]] = {}
    for name, one in configured(places).items():
        for uuid in one.gpu_uuids():
            users.setdefault(uuid, []).append(name)
    return users


def _up() -> float:
    """Seconds since systemd started; more than any limit where that is not known."""
    started = proc.process_start(_FIRST_PROCESS)
    return float("inf") if started is None else max(0.0, time.time() - started)
