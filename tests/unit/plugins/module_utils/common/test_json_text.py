# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""JSON files are written as Ansible's to_nice_json writes them."""

from __future__ import annotations

from ansible.plugins.filter.core import to_nice_json
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text


def test_a_file_that_ansible_wrote_is_the_same():
    content = {"b": [1, None, True], "a": {"name": "x"}}
    assert json_text(content) == to_nice_json(content) + "\n"
