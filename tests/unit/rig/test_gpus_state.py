# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The GPU state file: format, commands, locking."""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import stat
import subprocess
import sys

import pytest

from tests.rig.gpus import state

SCRIPT = pathlib.Path(state.__file__)
GIB = 1024**3


@pytest.fixture
def path(tmp_path, monkeypatch):
    where = tmp_path / "rig" / "state"
    monkeypatch.setenv("GPU_RIG_STATE", str(where))
    assert state.main(["preset", "rtx-a6000-x2"]) == 0
    return str(where)


def piped(path, *arguments):
    """Run state.py from the standard input, as on a host."""
    return subprocess.run(
        [sys.executable, "-", "--state", path, *arguments], input=SCRIPT.read_bytes(), capture_output=True, check=False
    )


def test_the_last_line_counts_and_a_dash_removes():
    assert state.parse("# no\na 1\nb 2\na 3\nb -\nc x y\n") == {"a": "3", "c": "x y"}


def test_any_user_can_replace_the_file(path):
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    directory = stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode)
    assert directory & 0o777 == 0o777 and not directory & stat.S_ISVTX
    assert stat.S_IMODE(os.stat(path + ".lock").st_mode) == 0o666


def test_what_a_killed_writer_left_behind_is_replaced(path):
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write("gpus 9\n")
    assert piped(path, "process", "add", "0", "1G", "--pid", str(os.getpid())).returncode == 0
    assert len(state.gpus(state.load())) == 2
    assert sorted(os.listdir(os.path.dirname(path))) == ["state", "state.lock"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666


def test_free_memory_of_an_idle_card(path):
    gpus = state.gpus(state.load())
    assert [(gpu["total"], gpu["free"]) for gpu in gpus] == [(49140 * 1024**2, 48600 * 1024**2)] * 2
    assert len({gpu["uuid"] for gpu in gpus}) == 2


def test_a_process_holds_memory_while_it_runs(path):
    done = piped(path, "process", "add", "1", "10G")
    pid = int(done.stdout)
    assert state.gpus(state.load())[1]["used"] == 10 * GIB
    assert state.gpus(state.load())[0]["used"] == 0
    assert piped(path, "process", "remove", "all").returncode == 0
    assert state.gpus(state.load())[1]["used"] == 0
    assert not state.alive(pid)


def test_a_process_that_is_gone_holds_nothing(path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    assert state.main(["process", "add", "0", "5G", "--pid", str(child.pid)]) == 0
    child.wait()
    assert state.gpus(state.load())[0]["used"] == 0


def test_a_process_can_be_in_a_mig_device(path):
    state.main(["preset", "a100-mig"])
    assert state.main(["process", "add", "0.mig.2", "5G", "--pid", str(os.getpid())]) == 0
    (gpu,) = state.gpus(state.load())
    driver = 19 * 1024**2
    assert [(one["place"], one["used"]) for one in gpu["mig"]] == [
        ("gpu0.mig.0", driver),
        ("gpu0.mig.2", driver + 5 * GIB),
    ]
    assert gpu["used"] == 2 * driver + 5 * GIB and gpu["processes"] == []
    assert piped(path, "process", "add", "0.mig.1", "5G").returncode == 2
    assert state.main(["process", "remove", "all"]) == 0
    assert state.gpus(state.load())[0]["mig"][1]["used"] == driver


def test_permuting_moves_everything_that_belongs_to_a_gpu(path):
    before = state.gpus(state.load())
    state.main(["process", "add", "1", "3G", "--pid", str(os.getpid())])
    assert state.main(["permute", "1,0"]) == 0
    after = state.gpus(state.load())
    assert [gpu["uuid"] for gpu in after] == [before[1]["uuid"], before[0]["uuid"]]
    assert [gpu["pci"] for gpu in after] == [before[1]["pci"], before[0]["pci"]]
    assert [gpu["used"] for gpu in after] == [3 * GIB, 0]
    assert state.load()["topology.0.1"] == "40"


def test_the_foreign_lie_brings_its_process_and_takes_it_away(path):
    assert piped(path, "lie", "foreign").returncode == 0
    pid = int(state.load()["engine.lie.pid"])
    assert state.alive(pid)
    assert piped(path, "lie", "off").returncode == 0
    assert not [key for key in state.load() if key.startswith("engine.lie")]
    assert not state.alive(pid)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["lie", "nonsense"], "unknown lie nonsense"),
        (["preset", "nonsense"], "unknown preset nonsense"),
        (["process", "add", "7", "1G"], "there is no GPU 7"),
        (["process", "add", "0", "lots"], "lots is not a number of bytes"),
        (["permute", "0,0"], "must name each of the 2 GPUs once"),
        (["frobnicate"], "unknown command"),
    ],
)
def test_wrong_commands_say_what_is_wrong_and_change_nothing(path, arguments, words):
    before = pathlib.Path(path).read_bytes()
    done = piped(path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert pathlib.Path(path).read_bytes() == before


def test_without_a_file_a_change_is_refused(tmp_path):
    done = piped(str(tmp_path / "none" / "state"), "set", "a", "1")
    assert done.returncode == 2 and "there is no state file" in done.stderr.decode()


def test_dump_is_json(path):
    document = json.loads(piped(path, "dump").stdout)
    assert [gpu["name"] for gpu in document["gpus"]] == ["NVIDIA RTX A6000"] * 2


def _count_up(path, key):
    for _time in range(40):
        with state.edit(path) as content:
            content[key] = str(int(content.get(key, 0)) + 1)
            content["shared"] = str(int(content.get("shared", 0)) + 1)


def test_writers_do_not_lose_each_other_s_changes(path):
    workers = [multiprocessing.Process(target=_count_up, args=(path, "worker%d" % number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert state.load()["shared"] == "160"


def test_every_preset_is_complete():
    for name in state.PRESETS:
        content = state.preset(name)
        assert len(state.gpus(content)) == len(state.PRESETS[name])
        assert all(gpu["uuid"] and gpu["pci"] for gpu in state.gpus(content))
    assert state.gpus(state.preset("gb10"))[0]["total"] is None
