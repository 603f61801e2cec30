# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The evidence of a host is written where the inventory says, and nowhere else."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.evidence_file import EvidenceFile, EvidenceFileError

EVIDENCE = {"verdict": "pass", "instances": [], "diagnosis": [], "host": "node1"}


def test_the_file_is_named_after_the_host(tmp_path):
    file = EvidenceFile(str(tmp_path / "new" / "evidence"), "node1.example.com")
    file.check()
    assert not (tmp_path / "new").exists()
    file.write(EVIDENCE)
    written = tmp_path / "new" / "evidence" / "node1.example.com.json"
    assert json.loads(written.read_text()) == EVIDENCE and file.path == str(written)
    assert written.stat().st_mode & 0o777 == 0o644
    file.write(dict(EVIDENCE, verdict="fail"))
    assert json.loads(written.read_text())["verdict"] == "fail"
    assert os.listdir(written.parent) == [written.name]


@pytest.mark.parametrize(
    "name, told",
    [
        ("../x", "begins with a dot"),
        ("..", "begins with a dot"),
        (".ssh", "begins with a dot"),
        ("a/../../x", "holds a slash"),
        ("/etc/x", "holds a slash"),
        ("a\0b", "not printed"),
        ("a\nb", "not printed"),
        ("", "is empty"),
        ("x" * 201, "longer than 200 bytes"),
    ],
)
def test_names_that_are_no_file_are_refused(name, told, tmp_path):
    with pytest.raises(EvidenceFileError, match=told):
        EvidenceFile(str(tmp_path), name)


def test_links_are_replaced_and_not_followed(tmp_path):
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "node1.json").symlink_to(tmp_path / "secret")
    EvidenceFile(str(tmp_path / "evidence"), "node1").write(EVIDENCE)
    assert (tmp_path / "secret").read_text() == "mine"
    assert not (tmp_path / "evidence" / "node1.json").is_symlink()


def test_a_place_that_cannot_be_written_is_told_before(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(EvidenceFileError, match="file is not a directory"):
            EvidenceFile(str(tmp_path / place), "node1").check()
    (tmp_path / "node1.json").mkdir()
    with pytest.raises(EvidenceFileError, match="node1.json is a directory"):
        EvidenceFile(str(tmp_path), "node1").check()
    with pytest.raises(EvidenceFileError, match="evidence of node1 cannot be written to"):
        EvidenceFile(str(tmp_path), "node1").write(EVIDENCE)
    assert sorted(os.listdir(tmp_path)) == ["file", "node1.json"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(EvidenceFileError, match="is not writable"):
        EvidenceFile(str(tmp_path), "node2").check()


def test_a_relative_directory_is_below_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    EvidenceFile("evidence", "node1").write(EVIDENCE)
    assert (tmp_path / "evidence" / "node1.json").exists()
