# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command diagnose: exit codes, and that it needs no plan."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import diagnosing

from tests.unit.plugins.module_utils.diagnose.builders import broken, host, inventory
from tests.unit.plugins.module_utils.program.host import Host

UNWELL = host(inventory=broken("version_mismatch"), servers=())
MAYBE = host(inventory=inventory(first={"persistence_mode": False}))


@pytest.fixture(name="program")
def _program(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize("evidence, code", [(host(), 0), (UNWELL, 1), (MAYBE, 2)])
@pytest.mark.parametrize("has_plan", [True, False])
def test_the_exit_code_says_how_sure_it_is(program, monkeypatch, evidence, code, has_plan):
    asked = []
    monkeypatch.setattr(diagnosing, "collect", lambda *given: asked.append(given) or evidence)
    if not has_plan:
        program.places.plan_file.unlink()
    status, text = program.run("diagnose", "--seconds", "0")
    assert status == code and asked == [(0.0, program.places.plan, False)]
    status, data = program.run("diagnose", "--json")
    assert status == code and len(json.loads(data)["findings"]) == (code > 0)
    assert ("Remedy" in text or "finding" in text) or code == 0


def test_a_library_that_is_missing_is_a_sentence(program, monkeypatch):
    def missing(*given):
        raise LibraryMissing("requests", "gone")

    monkeypatch.setattr(diagnosing, "collect", missing)
    status, text = program.run("diagnose")
    assert status == 4 and "requests" in text
