# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host adds to the input of its plan."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import inputs

from tests.unit.plugins.module_utils.changes.builders import EXISTING, WANTED, host


def test_what_an_adopted_ollama_had_is_carried_over_unless_the_plan_decides_it():
    variables = {"OLLAMA_ORIGINS": "x", "OLLAMA_HOST": "0.0.0.0", "PATH": "/bin", "LD_PRELOAD": "/x.so"}
    state = host(existing=dict(EXISTING, environment=variables))
    wanted = type(WANTED)(**dict(vars(WANTED), adopt=True))
    carried = inputs.carried_variables(state, wanted)
    assert carried.kept == {"OLLAMA_ORIGINS": "x"}
    assert [dropped.name for dropped in carried.dropped] == ["LD_PRELOAD", "OLLAMA_HOST"]
    assert inputs.carried_variables(state, WANTED) == ({}, [])
    # What was recorded wins: the unit may be gone by then.
    adopted = host(adopted={"environment": {"OLLAMA_ORIGINS": "y"}}, existing=state["existing"])
    assert inputs.carried_variables(adopted, WANTED).kept == {"OLLAMA_ORIGINS": "y"}
    assert inputs.plan_input(state, wanted).own_units == ("ollama.service",)
