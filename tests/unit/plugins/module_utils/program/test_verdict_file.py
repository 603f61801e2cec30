# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file of the verdict: put in its place whole, and only where nobody else can exchange it."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import verdict_file
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import Refused


def test_what_is_written_is_read(tmp_path):
    path = str(tmp_path / "state" / "verdict.json")
    assert verdict_file.read(path) == {}
    verdict_file.write(path, {"verdict": "pass"})
    assert verdict_file.read(path) == {"verdict": "pass"}
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o755


def test_a_file_that_is_cut_says_nothing(tmp_path):
    (tmp_path / "verdict.json").write_text('{"verdict": "pa', encoding="utf-8")
    assert verdict_file.read(str(tmp_path / "verdict.json")) == {}


def test_a_place_of_others_is_refused(tmp_path):
    os.chmod(tmp_path, 0o777)
    with pytest.raises(Refused, match="every user"):
        verdict_file.write(str(tmp_path / "verdict.json"), {})
    assert not (tmp_path / "verdict.json").exists()


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "other").write_text("mine", encoding="utf-8")
    (tmp_path / "verdict.json").symlink_to(tmp_path / "other")
    verdict_file.write(str(tmp_path / "verdict.json"), {"verdict": "pass"})
    assert (tmp_path / "other").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "verdict.json").is_symlink()
