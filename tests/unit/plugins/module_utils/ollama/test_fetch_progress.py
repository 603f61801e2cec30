# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file that says how far models are fetched."""

from __future__ import annotations

import json
import os

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import fetch_progress


def test_it_says_how_far_models_are_and_when_it_ends(tmp_path, monkeypatch):
    path = tmp_path / "run" / "fetch.json"
    monkeypatch.setattr(paths, "FETCH_PROGRESS", str(path))
    found = fetch_progress.ProgressFile()
    assert json.loads(path.read_text()) == {"pid": os.getpid(), "finished": False, "models": {}}
    report = found.reporter("tiny:latest")
    report(1, 4)  # too soon after the last write
    assert json.loads(path.read_text())["models"] == {}
    report(4, 4)
    assert json.loads(path.read_text())["models"] == {"tiny:latest": {"completed": 4, "total": 4}}
    found.finish()
    assert json.loads(path.read_text())["finished"] and os.listdir(path.parent) == ["fetch.json"]


def test_where_it_cannot_be_written_models_are_fetched_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(paths, "FETCH_PROGRESS", str(tmp_path / "file" / "fetch.json"))
    fetch_progress.ProgressFile().finish()
