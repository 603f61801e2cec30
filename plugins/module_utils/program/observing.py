# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compare this host with its plan; nothing is loaded or generated for it unless that is asked for."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from typing import Any

from ..common.libraries import LibraryMissing
from ..evidence import seen_computing
from ..evidence.checks import check_plan
from ..evidence.collect import collect
from ..evidence.planned import instances_of
from ..evidence.shapes import Evidence, Rules
from ..ollama.client import OllamaError
from .shapes import CANNOT, Refused

#: Seconds that a server may take for an answer, and NVML for its.
SERVER_SECONDS, NVML_SECONDS = 30.0, 30.0


@dataclass(frozen=True)
class Seen:
    """The evidence for a plan at a moment, and the GPU facts and rules of who may connect that it was made from."""

    evidence: Evidence
    inventory: dict[str, Any]
    time: datetime.datetime
    rules: Rules

    def data(self) -> dict[str, Any]:
        """Return the evidence as placement_check returns it, with the time in the form of ISO 8601."""
        return dict(dataclasses.asdict(self.evidence), time=text_of(self.time))


def observe(plan: dict[str, Any], only: list[str] | None = None, generate: bool = False, load: bool = False) -> Seen:
    """Return what this host shows of a plan.

    Args:
        plan: of this host.
        only: names of the instances to look at; None for all.
        generate: whether to run one short generation per model that is loaded.
        load: whether to load what is not loaded, and what the server lists though its engine is gone.

    Raises:
        Refused: it cannot be observed.
    """
    try:
        found = collect(
            dict(plan, instances=instances_of(plan, only)),
            load=load,
            generate=generate,
            timeout=SERVER_SECONDS,
            nvml_timeout=NVML_SECONDS,
        )
    except LibraryMissing as missing:
        raise Refused(CANNOT, str(missing))
    except OllamaError as error:
        raise Refused(CANNOT, "The plan cannot be checked: %s." % error)
    if generate:
        seen_computing.remember(found)
    else:
        seen_computing.recall(found)
    now = datetime.datetime.now(datetime.timezone.utc)
    return Seen(check_plan(plan, found, only), found.inventory, now, found.rules)


def text_of(time: datetime.datetime) -> str:
    """Return a time in the form of ISO 8601, in UTC and whole seconds: "2026-11-28T22:40:00Z"."""
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
