# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Inputs of public reports (tests/fixtures/cases) for the tests of the planner."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.unit.plugins.module_utils.placement.builders import make_plan

_FOLDER = pathlib.Path(__file__).resolve().parents[4] / "fixtures" / "cases"


def arguments(name, model=None, **changes):
    """The options of placement_info of a case.

    Args:
        name: of its file.
        model: fields of its first model to replace.
        changes: options to replace; None leaves one out.
    """
    found = json.loads((_FOLDER / (name + ".json")).read_text(encoding="utf-8"))["args"]
    found["models"][0].update(model or {})
    found.update(changes)
    return {key: value for key, value in found.items() if value is not None}


def plan_of(name, model=None, **changes):
    """The plan of a case, see `arguments`."""
    return make_plan(**arguments(name, model, **changes))


def refusal_of(name, model=None, **changes):
    """The sentence with which a case is refused, see `arguments`."""
    with pytest.raises(PlacementError) as caught:
        plan_of(name, model, **changes)
    return str(caught.value)
