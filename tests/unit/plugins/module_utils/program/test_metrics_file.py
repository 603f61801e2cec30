# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file with the metrics: a check writes it where the role says so, and only in a directory of root's."""

from __future__ import annotations

import io
import json
import os
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import kernel_log
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import main as program
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import metrics_file

from tests.unit.plugins.module_utils.evidence.builders import A, B, observations, plan
from tests.unit.plugins.module_utils.program.host import Host

GIB = 1024**3


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_log, "kernel_lines", lambda: None)
    monkeypatch.setattr(
        metrics_file.history,
        "read_history",
        lambda root: {
            "plans": [{"number": 1, "time": "2026-11-28T20:00:00Z"}, {"number": 2, "time": "2026-11-28T22:40:00Z"}]
        },
    )
    kept = {1: None, 2: metrics_file.history.digest_of(plan())}
    monkeypatch.setattr(metrics_file.history, "kept_digest", lambda number, root: kept[number])
    return Host(tmp_path, monkeypatch)


@pytest.fixture(name="directory")
def _directory(host, tmp_path):
    """A directory that the role has named."""
    directory = tmp_path / "metrics"
    directory.mkdir()
    wanted(host, directory)
    return directory


def wanted(host, directory, **more):
    """What the role writes for the program."""
    content = {"directory": str(directory), "check_interval_seconds": 600, **more}
    pathlib.Path(host.places.metrics).write_text(json.dumps(content), encoding="utf-8")


def series(text, name):
    """{labels: value} of a metric."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("gpufleet_" + name)]
    return {labels[len("gpufleet_" + name) :]: value for labels, value in lines}


def test_a_check_writes_them_for_everybody_to_read(host, directory):
    assert host.run("check")[0] == 0
    path = directory / "ollama_multigpu.prom"
    assert os.listdir(directory) == [path.name] and path.stat().st_mode & 0o777 == 0o644
    text = path.read_text(encoding="utf-8")
    assert series(text, "verdict{")['verdict="pass"}'] == "1" and series(text, "check_interval_seconds")[""] == "600"
    assert series(text, "proof_timestamp_seconds")[""] == "1795905600", "the last plan is the one in force"


def test_the_proof_of_another_plan_is_not_told(host, directory):
    """A run that was killed, or a proof that is accepted and not kept: the plan in force is none of the kept ones."""
    other = plan()
    other["instances"][0]["models"][0]["keep_alive"] = 600
    host.places.plan_file.write_text(json.dumps(other), encoding="utf-8")
    host.run("check")
    text = (directory / "ollama_multigpu.prom").read_text(encoding="utf-8")
    assert series(text, "verdict{") and series(text, "proof_") == {}


def test_the_next_check_replaces_them(host, directory):
    host.run("check")
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    before = (directory / "ollama_multigpu.prom").stat().st_ino
    assert host.run("check")[0] == 1
    path = directory / "ollama_multigpu.prom"
    assert path.stat().st_ino != before, "nobody reads half a file"
    assert series(path.read_text(encoding="utf-8"), "verdict{")['verdict="fail"}'] == "1"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"directory": ""}', '{"directory": 3}'])
def test_without_a_directory_none_are_written(host, directory, content):
    settings = pathlib.Path(host.places.metrics)
    settings.unlink()
    if content is not None:
        settings.write_text(content, encoding="utf-8")
    code, text = host.run("check")
    assert code == 0 and "metrics" not in text and os.listdir(directory) == []


def test_a_directory_that_is_gone_is_named_and_the_verdict_stands(host, directory):
    directory.rmdir()
    code, text = host.run("check")
    assert code == 0 and "The metrics are not written: there is no directory %s" % directory in text
    assert not directory.exists() and os.path.exists(host.places.verdict)


def test_nothing_is_written_where_others_could_exchange_it(host, directory):
    directory.chmod(0o777)
    code, text = host.run("check")
    assert code == 0 and os.listdir(directory) == []
    assert "The metrics are not written: %s may be written by every user" % directory in text


def test_what_somebody_has_put_in_its_place_is_not_followed(host, directory, tmp_path):
    (tmp_path / "other").write_text("theirs", encoding="utf-8")
    (directory / "ollama_multigpu.prom").symlink_to(tmp_path / "other")
    assert host.run("check")[0] == 0
    assert (tmp_path / "other").read_text(encoding="utf-8") == "theirs"
    assert not (directory / "ollama_multigpu.prom").is_symlink()


def test_a_file_of_somebody_else_becomes_roots(host, directory):
    if os.geteuid():
        pytest.skip("only root can give a file away")
    path = directory / "ollama_multigpu.prom"
    path.write_text("old", encoding="utf-8")
    os.chown(path, 12345, 12345)
    host.run("check")
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)


def test_the_command_prints_the_same_and_writes_nothing(host, directory):
    code, text = host.run("metrics")
    assert code == 0 and series(text, "verdict{")['verdict="pass"}'] == "1" and text.endswith("\n")
    assert os.listdir(directory) == [] and not os.path.exists(host.places.verdict)
    code, text = host.run("metrics", "--json")
    assert {"labels": ["pass"], "value": 1} in json.loads(text)["metrics"]["verdict"]


def test_a_check_that_finds_a_fault_has_metrics_that_say_so(host):
    """Whoever reads the text looks at the verdict in it."""
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    code, text = host.run("metrics")
    assert code == 0 and series(text, "verdict{")['verdict="fail"}'] == "1"


def test_all_of_it_is_printed_in_utf_8(host):
    seen = observations()
    seen.inventory["gpus"][0]["name"] = "Karte für Bäume " + "x" * 600
    host.shows(seen)
    binary = io.BytesIO()
    stream = io.TextIOWrapper(binary, encoding="ascii")
    assert program.main(["metrics"], host.places, stream, {}) == 0
    text = binary.getvalue().decode("utf-8")
    assert 'name="Karte für Bäume xxx' in text and text.rstrip().splitlines()[-1].startswith("gpufleet_")
