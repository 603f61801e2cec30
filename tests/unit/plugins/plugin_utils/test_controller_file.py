# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""JSON files on the controller. Files that are written have their tests where they are used."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import UnreadableError, read_json


@pytest.mark.parametrize("text, content", [('{"a": 1}', {"a": 1}), ("[1]", [1]), ('"\u00e9"', "\u00e9")])
def test_whatever_is_json_is_read(tmp_path, text, content):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    assert read_json(str(tmp_path / "x.json")) == content


def test_a_path_is_that_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_json("~/x.json") == 1
    monkeypatch.chdir(tmp_path)
    assert read_json("x.json") == 1


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100000], ids=["empty", "cut", "no text", "deep"])
def test_what_is_no_json_is_said(tmp_path, raw):
    (tmp_path / "x.json").write_bytes(raw)
    with pytest.raises(UnreadableError, match="it is no JSON"):
        read_json(str(tmp_path / "x.json"))


def test_a_file_that_is_too_large_or_missing(tmp_path):
    (tmp_path / "x.json").write_text("[1, 2]")
    assert read_json(str(tmp_path / "x.json"), 6) == [1, 2]
    with pytest.raises(UnreadableError, match="it has more than 5 bytes"):
        read_json(str(tmp_path / "x.json"), 5)
    with pytest.raises(UnreadableError, match="No such file or directory"):
        read_json(str(tmp_path / "y.json"))
