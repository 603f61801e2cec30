# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a switch and going back have in common: what can fail, and waiting for services that were started."""

from __future__ import annotations

from typing import Any

from ..evidence.readiness import wait_for
from ..host.ownership import FilesError
from ..host.units import UnitError
from ..ollama.store import StoreError

#: What can go wrong, beside a proof that fails. The text of each is a sentence.
EXPECTED_ERRORS = (FilesError, StoreError, UnitError, OSError)
#: Seconds that a started server may take to answer.
READY_SECONDS = 180.0


class SwitchFailed(Exception):
    """A switch cannot be made. The text is one or more sentences."""


def sentence(error: Exception) -> str:
    """Return what went wrong as a sentence."""
    return "%s." % str(error).rstrip(".")


def wait_until_ready(instances: list[dict[str, Any]]) -> None:
    """Wait until instances answer, and no longer than their units run.

    Args:
        instances: of a plan.

    Raises:
        SwitchFailed: one does not answer; with the last lines of its journal.
    """
    answered = wait_for([{"unit": one["unit"], "url": one["url"]} for one in instances], READY_SECONDS)
    problems = [one["problem"] for one in answered if one["problem"]]
    if problems:
        raise SwitchFailed(" ".join(problems))
