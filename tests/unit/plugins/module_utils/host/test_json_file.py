# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""JSON files of a host: a file that was never finished says nothing."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.json_file import read_object


@pytest.mark.parametrize("content", ["", "{", "[]", "1", '"text"', "\xff"])
def test_what_is_no_object_is_nothing(tmp_path, content):
    (tmp_path / "file.json").write_text(content, encoding="latin-1")
    assert read_object(str(tmp_path / "file.json")) is None


def test_an_object_is_read(tmp_path):
    (tmp_path / "file.json").write_text('{"a": 1}', encoding="utf-8")
    assert read_object(str(tmp_path / "file.json")) == {"a": 1}
    assert read_object(str(tmp_path / "missing.json")) is None
