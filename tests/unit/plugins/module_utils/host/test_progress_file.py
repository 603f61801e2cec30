# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file that says how far models are."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.progress_file import ProgressFile


def test_it_says_how_far_models_are_and_when_it_ends(tmp_path):
    path = tmp_path / "run" / "fetch.json"
    found = ProgressFile(str(path))
    assert json.loads(path.read_text()) == {"pid": os.getpid(), "finished": False, "models": {}}
    found.note("tiny:latest", {"completed": 1})  # too soon after the last write
    assert json.loads(path.read_text())["models"] == {}
    found.note("tiny:latest", {"completed": 4}, at_once=True)
    assert json.loads(path.read_text())["models"] == {"tiny:latest": {"completed": 4}}
    found.finish()
    assert json.loads(path.read_text())["finished"] and os.listdir(path.parent) == ["fetch.json"]
    assert path.stat().st_mode & 0o777 == 0o644, "the controller reads it as the user of the connection"


def test_what_keeps_it_from_being_written_is_ignored(tmp_path):
    (tmp_path / "file").write_text("")
    ProgressFile(str(tmp_path / "file" / "fetch.json")).finish()


@pytest.mark.parametrize("directory_is_there", [False, True])
def test_a_strict_umask_does_not_hide_it(tmp_path, directory_is_there):
    path = tmp_path / "run" / "fetch.json"
    before = os.umask(0o077)
    try:
        if directory_is_there:  # as another file of the directory has made it
            path.parent.mkdir()
        ProgressFile(str(path))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755
