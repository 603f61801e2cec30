# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Directories, files and links that are put in place; more of it is in the tests of the module instance_files."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import (
    SHOWN_BYTES,
    FileOutcome,
    Files,
    FilesError,
    WantedFile,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import Ownership


def files(check_mode=False, labels=None):
    """Files without backups; paths that get a SELinux context are added to `labels`."""
    return Files(check_mode, lambda path: path + "~", lambda path: labels is not None and not labels.append(path))


@pytest.mark.parametrize(
    "wanted",
    [WantedFile("", "directory"), WantedFile("", content=b"x"), WantedFile("", "link", target="x")],
    ids=["directory", "file", "link"],
)
def test_check_do_repeat_remove(tmp_path, wanted):
    path = str(tmp_path / "here")
    wanted = WantedFile(path, wanted.state, wanted.content, wanted.target)
    assert files(check_mode=True).put(wanted).action == "create" and not os.path.lexists(path)
    assert files().put(wanted).action == "create" and os.path.lexists(path)
    assert files().put(wanted).action == "none"
    absent = WantedFile(path, "absent")
    assert files(check_mode=True).put(absent).action == "remove" and os.path.lexists(path)
    assert files().put(absent).action == "remove" and not os.path.lexists(path)
    assert files().put(absent).action == "none"


def test_a_context_that_differs_is_a_change(tmp_path):
    path = str(tmp_path / "file")
    labels = []
    files(labels=labels).put(WantedFile(path, content=b"x"))
    assert labels == [path]
    files(labels=labels).put(WantedFile(str(tmp_path / "a" / "b"), "directory"))
    assert labels == [path, str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    assert files(labels=labels).put(WantedFile(path, content=b"x")).action == "attributes"


def test_a_refusal_of_the_system_is_one_sentence(tmp_path, monkeypatch):
    def refused(*unused):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(FilesError, match="state file .Permission denied.: run the task with become"):
        files().put(WantedFile(str(tmp_path / "file"), content=b"x"))
    assert os.listdir(str(tmp_path)) == []


def test_an_unknown_owner_leaves_nothing_behind(tmp_path):
    unknown = Ownership(owner="nobody-has-this-name")
    for state in ("directory", "file", "link"):
        with pytest.raises(FilesError, match="create it first"):
            files().put(WantedFile(str(tmp_path / "here"), state, target="x", ownership=unknown))
    assert os.listdir(str(tmp_path)) == []


def test_what_a_difference_shows(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * (SHOWN_BYTES + 1))
    assert files(True).put(WantedFile(str(path), content=b"a")).differences == [
        ("(%d bytes, not shown)\n" % (SHOWN_BYTES + 1), "a")
    ]
    hidden = WantedFile(str(path), content=b"a", show_content=False)
    assert files(True).put(hidden).differences == [
        ({"state": "file", "content": "not shown"}, {"state": "file", "content": "changed, not shown"})
    ]
    link = WantedFile(str(tmp_path / "link"), "link", target="x", ownership=Ownership("0", "0", 0o644))
    assert files(True).put(link).differences == [
        ({"state": "absent"}, {"state": "link", "owner": "0", "group": "0", "target": "x"})
    ]


def test_a_file_is_copied_before_it_is_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    assert files().put(WantedFile(str(path), content=b"new", backup=True)).backup_file == str(path) + "~"
    assert files().put(WantedFile(str(path), content=b"new", backup=True)).backup_file is None
    assert files(True).put(WantedFile(str(path), "absent", backup=True)).backup_file is None


def test_an_outcome_changes_something_unless_its_action_is_none():
    assert not FileOutcome("/x").changed and FileOutcome("/x", "create").changed
