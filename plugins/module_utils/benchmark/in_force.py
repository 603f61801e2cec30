# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Hold the lock of the host while its plan is measured, so that no run changes the instances meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Optional

from ..common import paths
from ..host import history
from ..host.json_file import read_object
from ..host.run_lock import run_lock


class PlanChanged(Exception):
    """The plan that is to be measured is not in force any more. The text is a sentence with a remedy."""


@contextlib.contextmanager
def plan_in_force(digest: str, wait: float, shared: bool, notes: list[str]) -> Iterator[None]:
    """Hold the lock until the block ends. Only root can, so that without it a note says that the lock is not held.

    Args:
        digest: `history.digest_of` the plan that is to be measured.
        wait: seconds to wait for those that hold the lock.
        shared: hold it with others that load, from a moment on at which nobody loads or observes: a benchmark unloads
            models, which a check in progress would take for a fault.
        notes: gets a sentence where the lock cannot be held.

    Raises:
        PlanChanged: another plan is in force, or it cannot be read. A host without a plan has no other one.
        LockHeld, OSError: see `run_lock`.
    """
    if os.geteuid() != 0:
        notes.append("Without become, a run of the role could change the instances while they were measured.")
        yield
        return
    with run_lock(wait=wait, shared=shared, after_others=True):
        if os.path.lexists(paths.PLAN):
            _compare(digest, read_object(paths.PLAN))
        yield


def _compare(digest: str, plan: Optional[dict[str, Any]]) -> None:
    """Raise PlanChanged if the plan of this host is not the one that is to be measured, or None: not to be read."""
    if plan is None:
        raise PlanChanged("%s is no plan, or cannot be read: run the playbook gpufleet.ollama.site again." % paths.PLAN)
    in_force = history.digest_of(plan)
    if in_force != digest:
        raise PlanChanged(
            "The plan in %s is another one (%.12s) than the plan that is to be measured (%.12s), because a run has "
            "changed it: run the benchmark again." % (paths.PLAN, in_force, digest)
        )
