# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Evidence in sentences: the first thing that is wrong, and what should be known. Pure."""

from __future__ import annotations

from typing import Any


def notes(result: dict[str, Any]) -> list[str]:
    """Return the notes of all models.

    Args:
        result: evidence as module placement_check returns it.
    """
    return [note for instance in result["instances"] for model in instance["models"] for note in model["notes"]]


def summary(result: dict[str, Any]) -> str:
    """Return one sentence on the first finding, with its remedy, and how many more there are.

    Args:
        result: evidence as module placement_check returns it, with another verdict than "pass".
    """
    if not result["diagnosis"]:
        failed = [
            (model["name"], check)
            for instance in result["instances"]
            for model in instance["models"]
            for check in model["checks"]
            if check["passed"] is False
        ]
        name, check = failed[0]
        return "%s is not as planned: %s is %s instead of %s." % (
            name,
            check["name"],
            check["observed"],
            check["expected"],
        )
    first = result["diagnosis"][0]
    more = len(result["diagnosis"]) - 1
    return "Instance %s: %s (%s). %s%s" % (
        first["instance"],
        first["evidence"],
        first["finding"],
        first["remedy"],
        " There %s %d more in diagnosis." % ("is" if more == 1 else "are", more) if more else "",
    )
