# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The kernel's log by journalctl."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import kernel_log

from tests.unit.plugins.module_utils.diagnose.test_host_memory import KILLED_LINES


@pytest.mark.parametrize(
    "answer, lines",
    [
        ((0, "NVRM: Xid\nOut of memory\n", ""), ["NVRM: Xid", "Out of memory"]),
        ((1, "", ""), []),
        ((1, "", "No journal files were opened due to insufficient permissions.\n"), None),
        ((127, "", ""), None),
    ],
)
def test_what_journalctl_answers(monkeypatch, answer, lines):
    asked = []
    monkeypatch.setattr(kernel_log, "ask", lambda command, timeout: asked.append(command) or answer)
    assert kernel_log.kernel_lines() == lines and "--dmesg" in asked[0]


@pytest.mark.parametrize("line", ["NVRM: Xid (PCI:0000:01:00): 79, pid=901", *KILLED_LINES])
def test_journalctl_is_asked_for_the_lines_that_are_read(monkeypatch, line):
    """It heeds the case of letters where the pattern has capitals."""
    asked = []
    monkeypatch.setattr(kernel_log, "ask", lambda command, timeout: asked.append(command) or (1, "", ""))
    kernel_log.kernel_lines()
    (pattern,) = [word.partition("=")[2] for word in asked[0] if word.startswith("--grep=")]
    assert re.search(pattern, line) and pattern != pattern.lower()
    assert not re.search(pattern, "usb 1-1: new high-speed USB device")


def test_without_an_answer_it_is_unknown(monkeypatch):
    def slow(command, timeout):
        raise TimeoutError

    monkeypatch.setattr(kernel_log, "ask", slow)
    assert kernel_log.kernel_lines() is None
