# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Programs of the host that are asked."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.command import ask


def test_a_program_answers_in_the_c_locale(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    code = "import os, sys; sys.stdout.write(os.environ['LC_ALL']); sys.stderr.write('oh'); sys.exit(3)"
    assert ask([sys.executable, "-c", code], timeout=60) == (3, "C", "oh")
    code = "import sys; sys.stdout.buffer.write(bytes([65, 255]))"
    assert ask([sys.executable, "-c", code], timeout=60) == (0, "A\N{REPLACEMENT CHARACTER}", "")


def test_a_program_has_a_time_limit():
    with pytest.raises(OSError, match=r"^it does not end within 0\.2 seconds$"):
        ask([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_a_program_that_is_not_there():
    with pytest.raises(OSError):
        ask(["/nonexistent/systemctl", "show"], timeout=5)
