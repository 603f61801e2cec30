# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command diagnose: exit codes, and that it needs no plan."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import diagnosis
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.diagnosis import findings
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.kinds import KINDS
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.health import REMEDIES
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import diagnosing

from tests.unit import guide_findings
from tests.unit.plugins.module_utils.diagnose.builders import GIB, broken, host, inventory
from tests.unit.plugins.module_utils.program.host import Host

UNWELL = host(inventory=broken("version_mismatch"), servers=())
MAYBE = host(inventory=inventory(first={"persistence_mode": False}))


@pytest.fixture(name="program")
def _program(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "evidence, code, last, told",
    [
        (host(), 0, "No cause was found for any of: only one GPU is active; it is slow; ", []),
        (
            UNWELL,
            1,
            "1 finding (1 certain).",
            [
                "\ndriver_library_mismatch (certain): ",
                " This can explain: it runs on the CPU; it was fine before the update. ",
                REMEDIES["version_mismatch"],
            ],
        ),
        (MAYBE, 2, "1 finding (1 possible).", ["\npersistence_off (possible): ", "nvidia-persistenced"]),
    ],
)
@pytest.mark.parametrize("has_plan", [True, False])
def test_the_exit_code_says_how_sure_it_is(program, monkeypatch, evidence, code, last, told, has_plan):
    asked = []
    monkeypatch.setattr(diagnosing, "collect", lambda *given: asked.append(given) or evidence)
    if not has_plan:
        program.places.plan_file.unlink()
    status, text = program.run("diagnose", "--seconds", "0")
    assert status == code and asked == [(0.0, program.places.plan, False)]
    assert text.splitlines()[-1].startswith(last) and [words for words in told if words not in text] == []
    status, data = program.run("diagnose", "--json")
    assert status == code and len(json.loads(data)["findings"]) == (code > 0)


def test_no_line_of_a_finding_is_cut(program, monkeypatch):
    """At its end are the remedy and the variable. Five tenants are the most that are named."""
    pod = "0::/kubepods.slice/kubepods-pod8d2a4f7e_1111_2222_3333_444444444444.slice/cri-containerd-1.scope\n"
    pids = range(1000001, 1000006)
    tenants = [{"pid": pid, "name": "python3.11", "used_bytes": 8 * GIB, "unit": None} for pid in pids]
    evidence = host(inventory=inventory(first={"processes": tenants}), cgroups=dict.fromkeys(pids, pod))
    found = [*findings(evidence), *(guide_findings.example(kind) for kind in KINDS)]
    monkeypatch.setattr(diagnosing, "collect", lambda *given: evidence)
    monkeypatch.setattr(diagnosing.diagnosis, "findings", lambda given: found)
    lines = diagnosis.lines(evidence, found)
    assert lines[0].count("pod 8d2a4f7e-1111-2222-3333-444444444444") == 5
    _status, text = program.run("diagnose")
    assert text.splitlines()[-len(lines) :] == lines


def test_a_library_that_is_missing_is_a_sentence(program, monkeypatch):
    def missing(*given):
        raise LibraryMissing("requests", "gone")

    monkeypatch.setattr(diagnosing, "collect", missing)
    status, text = program.run("diagnose")
    assert status == 4 and "requests" in text
