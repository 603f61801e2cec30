# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The files of a plan on the controller: one for each host, and a summary of the hosts of the play."""

from __future__ import annotations

import json
import multiprocessing
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.plan_files import PlanFiles, PlanFilesError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_record import Planned, plan_record


def record(name, *obstacles):
    return plan_record(name, Planned(obstacles=obstacles))


def hosts_of(directory):
    return [one["host"] for one in json.loads((directory / "summary.json").read_text())["hosts"]]


def test_each_host_has_a_file_and_all_have_a_summary(tmp_path):
    place = tmp_path / "new"
    files = PlanFiles(str(place), "b")
    files.check()
    assert not place.exists()
    files.write(record("b"), ["a", "b"])
    PlanFiles(str(place), "a").write(record("a", "It has no zstd."), ["a", "b"])
    assert json.loads((place / "plans" / "a.json").read_text())["obstacles"] == ["It has no zstd."]
    assert hosts_of(place) == ["a", "b"] and files.summary == str(place / "summary.md")
    assert "It has no zstd" in (place / "summary.md").read_text()
    assert sorted(os.listdir(place)) == ["plans", "summary.json", "summary.md"]


def test_hosts_of_another_play_leave_the_summary(tmp_path):
    for name in ("a", "b"):
        PlanFiles(str(tmp_path), name).write(record(name), ["a", "b"])
    PlanFiles(str(tmp_path), "a").write(record("a"), ["a"])
    assert hosts_of(tmp_path) == ["a"]


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"format": 2, "hosts": [{"host": "b"}]}', '{"format": 1}'])
def test_a_summary_that_cannot_be_read_is_begun_anew(tmp_path, damaged):
    (tmp_path / "summary.json").write_text(damaged)
    PlanFiles(str(tmp_path), "a").write(record("a"), ["a", "b"])
    assert hosts_of(tmp_path) == ["a"]


def test_a_part_of_another_version_is_left_out(tmp_path):
    """A host that is not planned yet in this run may have a part without what this version writes."""
    (tmp_path / "summary.json").write_text('{"format": 1, "hosts": [{"host": "b", "state": "differs"}]}')
    PlanFiles(str(tmp_path), "a").write(record("a"), ["a", "b"])
    assert hosts_of(tmp_path) == ["a"]


def _write(arguments):
    directory, name, names = arguments
    PlanFiles(directory, name).write(record(name), names)


def test_hosts_that_write_at_the_same_time_lose_nothing(tmp_path):
    names = ["host-%02d" % number for number in range(40)]
    with multiprocessing.get_context("fork").Pool(8) as pool:
        pool.map(_write, [(str(tmp_path), name, names) for name in names], chunksize=1)
    assert hosts_of(tmp_path) == names


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(PlanFilesError, match="plan of the host '../x' cannot be written"):
        PlanFiles(str(tmp_path), "../x")
    (tmp_path / "plans").write_text("")
    with pytest.raises(PlanFilesError, match="plan of a cannot be written to .*plans is not a directory. Set"):
        PlanFiles(str(tmp_path), "a").check()
