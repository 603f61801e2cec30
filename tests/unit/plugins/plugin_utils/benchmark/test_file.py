# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files of benchmarks: their names, the last one, and files that are none."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.file import BenchmarkFile, read
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import ControllerFileError

FOUND = {"loads": [], "measurements": [], "notes": ["é"]}


def test_a_file_for_each_run(tmp_path):
    file = BenchmarkFile(str(tmp_path / "new"), "node1", "20261129T130000Z")
    assert file.last() is None
    file.write(FOUND)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["node1.20261129T130000Z.json"]
    assert read(file.path) == FOUND


def test_the_last_one_is_that_of_the_same_host_before_this_one(tmp_path):
    names = ["node1.20261128T130000Z", "node1.20261127T130000Z", "node1.20261130T130000Z", "node1.b.20261128T230000Z"]
    for name in (*names, "node1.x", ".node1.20261128T235900Z"):
        (tmp_path / (name + ".json")).write_text("{}")
    assert BenchmarkFile(str(tmp_path), "node1", "20261129T130000Z").last() == str(tmp_path / (names[0] + ".json"))
    assert BenchmarkFile(str(tmp_path), "node1.b", "20261129T130000Z").last() == str(tmp_path / (names[3] + ".json"))


@pytest.mark.parametrize("host", ["", "../x", ".hidden", "a/b"])
def test_a_host_whose_name_is_no_name_of_a_file(host, tmp_path):
    with pytest.raises(ControllerFileError, match="benchmark of the host"):
        BenchmarkFile(str(tmp_path), host, "20261129T130000Z")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps(dict(FOUND, loads={})), "[" * 100000])
def test_a_file_that_is_no_benchmark(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ControllerFileError, match="is no benchmark|cannot be read: it is no JSON"):
        read(str(tmp_path / "x.json"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ControllerFileError, match="No such file"):
        read(str(tmp_path / "x.json"))
