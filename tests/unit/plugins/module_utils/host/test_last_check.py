# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.last_check import last_check

CHECK = {"verdict": "fail", "time": "2026-11-29T09:00:00Z"}


def test_the_verdict_and_its_time_are_taken(tmp_path):
    (tmp_path / "verdict.json").write_text(json.dumps(dict(CHECK, instances=[])), encoding="utf-8")
    assert last_check(str(tmp_path / "verdict.json")) == CHECK


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"verdict": "pass"}', '{"verdict": 5, "time": "x"}'])
def test_without_both_there_was_none(tmp_path, content):
    assert last_check(str(tmp_path / "missing.json")) is None
    (tmp_path / "verdict.json").write_text(content, encoding="utf-8")
    assert last_check(str(tmp_path / "verdict.json")) is None
