# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which engines were seen computing on their GPUs, kept until the host boots again.

A check that generates nothing cannot see that. The same process that computed on its GPUs, and that holds its memory
there, is still the engine that was proven; where memory alone shows little, as with a small model, this is the proof.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from ..common import paths
from ..host.json_file import read_object, write_object
from ..host.ownership import FilesError
from .shapes import Observations, ObservedModel

_MODE = 0o600
_SEEN = "the same process was seen computing at %s"


def remember(observations: Observations, directory: str = paths.SEEN_COMPUTING) -> None:
    """Keep which engines computed while they generated. Without a directory of the host's program, nothing is kept.

    Args:
        observations: with generations.
        directory: where a file per instance is kept.
    """
    if not os.path.isdir(os.path.dirname(directory)) or not os.access(os.path.dirname(directory), os.W_OK):
        return
    for name, instance in observations.instances.items():
        models = {model: _kept(found) for model, found in instance.models.items() if _has_computed(found)}
        if models:
            with contextlib.suppress(FilesError):  # the next check is then less sure, and nothing else
                write_object(os.path.join(directory, name + ".json"), {"models": models}, _MODE)


def recall(observations: Observations, directory: str = paths.SEEN_COMPUTING) -> None:
    """Complete observations without a generation by what was seen of the same processes before.

    Args:
        observations: what is known of a model is kept.
        directory: see `remember`.
    """
    for name, instance in observations.instances.items():
        kept = (read_object(os.path.join(directory, name + ".json")) or {}).get("models")
        for model, found in instance.models.items():
            seen = kept.get(model) if isinstance(kept, dict) else None
            if isinstance(seen, dict) and found.utilization_peak is None and _is_same(found, seen):
                found.utilization_peak = seen["utilization_peak"]
                found.busy_processes = {
                    uuid: None if busy is None else {int(pid): percent for pid, percent in busy.items()}
                    for uuid, busy in seen["busy_processes"].items()
                }
                found.not_generated = _SEEN % seen["time"]


def _has_computed(found: ObservedModel) -> bool:
    # A model that makes vectors only generates nothing (`answered` stays None): its vector is the answer.
    has_vector = found.answer is not None and bool(found.answer.vector)
    return found.engine is not None and bool(found.answered or has_vector) and found.utilization_peak is not None


def _kept(found: ObservedModel) -> dict[str, Any]:
    engine = found.engine
    return {
        "pid": engine.pid if engine else None,
        "started": engine.started if engine else None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "utilization_peak": found.utilization_peak,
        "busy_processes": found.busy_processes or {},
    }


def _is_same(found: ObservedModel, seen: dict[str, Any]) -> bool:
    engine = found.engine
    return engine is not None and (engine.pid, engine.started) == (seen.get("pid"), seen.get("started"))
