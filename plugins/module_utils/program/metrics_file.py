# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command `metrics`, and the file with the same text for the textfile collector of node_exporter."""

from __future__ import annotations

import os
from typing import Any

from ..common import paths
from ..host import history, kernel_log
from ..host.files import Files, WantedFile
from ..host.json_file import read_object
from ..host.ownership import FilesError, Ownership
from . import observing
from .applied import applied_plan
from .metrics import Source, samples
from .metrics_text import metrics_text
from .observing import Seen
from .shapes import ERROR, FINE, Answer, Line, Places

#: node_exporter has a user of its own.
_MODE = 0o644


def metrics(places: Places) -> Answer:
    """Return what the host shows of its plan now, as metrics. Nothing is loaded or written.

    Raises:
        Refused: there is no plan, or it cannot be checked.
    """
    plan = applied_plan(places.plan)
    found = samples(_source(places, plan, observing.observe(plan)))
    data = {
        key: [{"labels": list(labels), "value": value} for labels, value in series.items()]
        for key, series in found.items()
    }
    return Answer(FINE, [], {"metrics": data}, metrics_text(found))


def write(places: Places, plan: dict[str, Any], seen: Seen) -> list[Line]:
    """Put the metrics of a check in their place by a rename, where the role has named a directory.

    Args:
        places: of the host.
        plan: of the host.
        seen: the check.

    Returns:
        What kept them from being written. The verdict does not depend on it: that its metrics become old is noticed by
        the alert on old verdicts.
    """
    directory = _settings(places).get("directory")
    if not isinstance(directory, str) or not directory:
        return []
    content = metrics_text(samples(_source(places, plan, seen))).encode("utf-8", "replace")
    problem = _put(paths.metrics_file(directory), content)
    return [Line("The metrics are not written: %s." % problem, ERROR)] if problem else []


def _put(path: str, content: bytes) -> str | None:
    """Put the file in its place; return why that cannot be done, as a part of a sentence."""
    if not os.path.isdir(os.path.dirname(path)):
        return "there is no directory %s, which the role makes when it is run again" % os.path.dirname(path)
    ownership = Ownership(str(os.geteuid()), str(os.getegid()), _MODE)
    try:
        files = Files(False, backup=str, set_context=lambda _path: False)  # it takes the type of its directory
        files.put(WantedFile(path, content=content, ownership=ownership))
    except FilesError as error:
        return str(error)
    return None


def _settings(places: Places) -> dict[str, Any]:
    return read_object(places.metrics) or {}


def _source(places: Places, plan: dict[str, Any], seen: Seen) -> Source:
    interval = _settings(places).get("check_interval_seconds")
    return Source(
        plan=plan,
        evidence=seen.evidence,
        inventory=seen.inventory,
        time=seen.time,
        kernel_lines=kernel_log.kernel_lines(),
        proof=_proof(places, plan),
        interval=interval if isinstance(interval, int) else 0,
    )


def _proof(places: Places, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The record of the plan in force; None where the last one that is kept is another, or there is none."""
    kept = history.read_history(places.root)["plans"]
    if not kept or history.kept_digest(kept[-1]["number"], places.root) != history.digest_of(plan):
        return None
    return kept[-1]
