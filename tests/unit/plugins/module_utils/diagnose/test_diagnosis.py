# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A healthy host gives no finding; the order of findings, and what people read."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import diagnosis
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.diagnosis import findings
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import HostEvidence
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Evidence

from tests.unit.plugins.module_utils.diagnose.builders import A, broken, host, inventory, nodes, server


def test_a_healthy_host_gives_no_finding():
    assert findings(host()) == []
    (line,) = diagnosis.lines(host(), [])
    assert "No cause was found" in line and "it is slow" in line and "was not compared with a plan" in line


def test_what_was_compared_with_a_plan_is_said_to_be():
    (line,) = diagnosis.lines(host(proof=Evidence("pass", [], [])), [])
    assert "It was compared with its plan." in line and "not compared" not in line


def test_a_host_without_ollama_and_without_gpus_gives_none():
    evidence = HostEvidence(inventory=broken("no_library", no_gpu_present=True))
    assert findings(evidence) == []
    assert "This host has no NVIDIA GPU." in diagnosis.looked_at(evidence)
    assert any("No Ollama server" in line for line in diagnosis.looked_at(evidence))
    (line,) = diagnosis.lines(evidence, [])
    assert "This host has no NVIDIA GPU, so its models run on the CPU." in line and "No cause was found" not in line


def test_gpus_of_amd_are_said_not_to_be_looked_at():
    evidence = HostEvidence(inventory=broken("no_library", no_gpu_present=True), amd_gpus=("0000:03:00.0",))
    assert "This host has AMD GPUs (0000:03:00.0), which the diagnosis does not support." in diagnosis.looked_at(
        evidence
    )
    (line,) = diagnosis.lines(evidence, [])
    assert "supports only NVIDIA GPUs" in line and "run on the CPU" not in line


def test_the_surest_comes_first_and_all_have_what_they_need():
    bad = inventory(
        first={"persistence_mode": False, "compute_mode": "prohibited", "pcie": {"width": 4, "max_width": 16}}
    )
    found = findings(host(inventory=bad, nodes=nodes(uvm=None)))
    assert [one.confidence for one in found] == ["certain", "certain", "likely", "possible"]
    assert all(one.evidence and one.remedy.endswith(".") and not one.evidence.endswith(".") for one in found)
    lines = diagnosis.lines(host(), found)
    assert lines[-1] == "4 findings (2 certain, 1 likely, 1 possible)." and A in "".join(lines)


def test_a_gpu_has_the_number_of_the_plan_wherever_it_is_named():
    """The names of instances have it, and what differs from the plan is told with it."""
    plan = {"gpus": [{"uuid": A, "number": 7, "name": "NVIDIA RTX A6000"}]}
    evidence = host(plan=plan, inventory=inventory(first={"compute_mode": "prohibited"}))
    (seen,) = [one.evidence for one in findings(evidence) if A in one.evidence or "GPU 7" in one.evidence]
    assert "GPU 7 (RTX A6000)" in seen and "GPU 0" not in seen
    told = " ".join(diagnosis.looked_at(evidence))
    assert "GPU 7 (RTX A6000, %s)" % A in told and "GPU 0" not in told


def test_data_has_the_symptoms():
    evidence = host(inventory=broken("version_mismatch"))
    data = diagnosis.as_data(evidence, findings(evidence))
    assert data["findings"][0]["symptoms"] == ["it runs on the CPU", "it was fine before the update"]
    assert "cannot be read" in data["looked_at"][0]


def test_a_line_names_the_symptoms_that_its_finding_can_explain():
    evidence = host(inventory=inventory(first={"pcie": {"width": 4, "max_width": 16}}))
    (line, count) = diagnosis.lines(evidence, findings(evidence))
    assert line.startswith("pcie_narrow (likely): the PCIe link of GPU 0 (RTX A6000) uses 4 of 16 lanes.")
    assert " This can explain: it is slow. " in line and count == "1 finding (1 likely)."
    evidence = host(inventory=broken("version_mismatch"))
    (line, _count) = diagnosis.lines(evidence, findings(evidence))
    assert " This can explain: it runs on the CPU; it was fine before the update. Reboot the host" in line


def test_what_was_looked_at():
    text = " ".join(diagnosis.looked_at(host(kernel_lines=None, servers=(server(), server(name="x", pid=0)))))
    for words in ("580.95.05", A, "Ollama 0.32.15 at http://127.0.0.1:11434", "llama3:70b", "x does not run", "Xid"):
        assert words in text
