# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lines that every unit of the collection has."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.unit_file import unit_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.hardening import HARDENING
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.fetch_server import FetchServer


def test_all_units_have_the_lines():
    lines = HARDENING.splitlines()
    assert "NoNewPrivileges=true" in lines and all("=" in line for line in lines)
    for text in (unit_text("/srv/models"), FetchServer("/r", "/srv/models/fetch").unit_text()):
        assert [line for line in lines if line not in text.splitlines()] == []
