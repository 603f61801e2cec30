# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read the plan that was applied to this host."""

from __future__ import annotations

import os
from typing import Any

from ..common import paths
from ..evidence.planned import plan_problem
from ..host.json_file import read_object
from .shapes import NO_PLAN, Refused


def applied_plan(path: str = paths.PLAN) -> dict[str, Any]:
    """Return the plan of this host.

    Raises:
        Refused: there is none, or it cannot be used.
    """
    if not os.path.lexists(path):
        raise Refused(
            NO_PLAN, "There is no plan on this host (%s): run the playbook gpufleet.ollama.site for it first." % path
        )
    plan = read_object(path)
    if plan is None:
        raise Refused(NO_PLAN, "%s is no plan, or cannot be read: run the playbook gpufleet.ollama.site again." % path)
    problem = plan_problem(plan)
    if problem:
        raise Refused(NO_PLAN, "%s: %s" % (path, problem))
    return plan
