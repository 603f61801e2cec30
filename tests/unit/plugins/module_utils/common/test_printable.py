# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable


def test_one_line_that_a_terminal_prints():
    assert printable("NVIDIA RTX A6000 \u00e9") == "NVIDIA RTX A6000 \u00e9"
    assert printable("a\nb\x1b[2J\r\x9b\u202e\u2028") == "a\\nb\\x1b[2J\\r\\x9b\\u202e\\u2028"
    assert printable(None) == "None" and printable(["\x1b"]) == "['\\x1b']"
