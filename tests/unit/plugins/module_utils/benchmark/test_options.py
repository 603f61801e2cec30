# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Options of what is measured."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.doc_fragments.measuring import ModuleDocFragment
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.figures import Wanted
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.options import (
    measuring_options,
    problem,
    wanted,
)
from yaml import safe_load

DEFAULTS = {name: option["default"] for name, option in measuring_options().items() if "default" in option}


def test_the_defaults_are_the_documented_ones_and_can_be_measured():
    documented = safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert {name: one["default"] for name, one in documented.items() if "default" in one} == DEFAULTS
    assert problem(DEFAULTS) is None and wanted(DEFAULTS) == Wanted()


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("repeats", 0, "repeats is 0: give a number from 1 to 100."),
        ("tokens", 4097, "tokens is 4097"),
        ("loads", -1, "loads is -1"),
        ("outage_limit", 9, "outage_limit is 9: give a number from 10 to 86400."),
        ("quiet_timeout", 1e6, "quiet_timeout is 1e+06"),
        ("prompts", [8, 0], "prompts has 0: give numbers from 1 to 1000000."),
    ],
)
def test_values_that_cannot_be_measured_with(name, value, told):
    assert problem(dict(DEFAULTS, **{name: value})).startswith(told)
