# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What README and guide say of `status` and `diagnose` on a host with a fault is what they answer."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import OF_VERDICT

from tests import shown
from tests.unit import two_commands as commands

#: Faults in the words of the guide.
FAULTS = {
    "Another process holds 9 GiB of a GPU": commands.another_process,
    "A GPU is too hot, and its clocks are lowered": commands.too_hot,
    "The engine runs on the CPU": commands.on_the_cpu,
    "The first GPU holds a whole model that is planned over two": commands.on_one_gpu,
}
#: Words of the guide, and the words of the answers that they stand for.
STATUS = {
    "the process is named": "process 4711 (python3",
    "the line of the GPU ends with ``degraded``": "in use  degraded\n",
}
DIAGNOSE = {
    "which names the process": "process 4711 (python3",
    "with the temperature": "94 C",
    "with what ``status`` says": "/api/ps says that size_vram equals size",
}
REMEDIES = {
    "stop the process": "Stop the processes",
    "or run ``site`` again": "run the playbook gpufleet.ollama.site",
    "check fans": "Check fans, ",
    "filters and the airflow of the rack": "filters and the airflow of the rack",
    "restart the instance": "Run systemctl restart ollama@",
    "then ``sudo ollama-multigpu load``": "and load the model again",
    "unload the model": "Unload ",
    "``load`` it without ``main_gpu``": "load it without main_gpu",
}


def test_the_guide_has_the_faults_that_are_tried():
    assert list(commands.rows()) == list(FAULTS)


def test_a_host_without_a_fault_passes_and_has_no_finding():
    host = commands.host()
    assert host.proof.verdict == "pass" and host.findings() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_guide_says_what_status_says(fault):
    row, host = commands.rows()[fault], commands.host(FAULTS[fault])
    text = "\n".join(host.status())
    assert row.verdict == host.proof.verdict and "Verdict: %s (" % host.proof.verdict in text
    assert row.failed == {one.finding for one in host.proof.diagnosis}
    assert [size for size in re.findall(r"[\d.]+ [GM]iB", row.status) if size not in text] == []
    assert [words for phrase, words in STATUS.items() if (phrase in row.status) != (words in text)] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_guide_says_what_diagnose_says(fault):
    row, host = commands.rows()[fault], commands.host(FAULTS[fault])
    text, found = "\n".join(host.diagnose()), host.findings()
    assert row.findings == list(dict.fromkeys((one.finding, one.confidence) for one in found))
    assert [words for phrase, words in DIAGNOSE.items() if (phrase in row.diagnose) != (words in text)] == []
    assert [part for part in row.remedy.split(", ") if REMEDIES[part] not in text] == []


def test_the_exit_codes_of_status_are_those_of_the_guide():
    codes = [OF_VERDICT[commands.host(fault).proof.verdict] for fault in FAULTS.values()]
    text = " ".join(shown.pages()["diagnose"].read_text(encoding="utf-8").split())
    assert codes == [0, 0, 1, 1] and "In the first two rows, the exit code of ``status`` is 0" in text
    assert "In the others it is 1." in text


def test_the_readme_shows_how_status_ends():
    """Of a host whose large model runs on the CPU."""
    lines = commands.host(commands.on_the_cpu, commands.LARGE).status()
    ends = "\n".join(lines[lines.index("") + 1 :]) + "\n"
    assert shown.block("README.md", "text", 1) == ends, "\n" + ends
