# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The kernel's log by journalctl."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import kernel_log


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


def test_without_an_answer_it_is_unknown(monkeypatch):
    def slow(command, timeout):
        raise TimeoutError

    monkeypatch.setattr(kernel_log, "ask", slow)
    assert kernel_log.kernel_lines() is None
