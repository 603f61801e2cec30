# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far a load is, by what the process of its engine has read."""

from __future__ import annotations

import json
import threading

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import engines, load_progress
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import EngineProcess
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import proc

from tests.rig import waiting

UNIT, MIB = "ollama@gpu0.service", 1024 * 1024


def engine(pid, path):
    return EngineProcess(pid, "sha256-1", 40000, ["llama-server", "--model", str(path), "-c", "8192"], 7, parent=42)


@pytest.fixture(name="host")
def _host(monkeypatch, tmp_path):
    """A host with an engine of another model (pid 1), whose engine of the load (pid 2) reads as `readings` say."""
    blob = tmp_path / "blob"
    with blob.open("wb") as stream:
        stream.truncate(100 * MIB)
    found = {"engines": [engine(1, blob)], "readings": {1: proc.Reading(7, 7, 7)}, "blob": blob}
    monkeypatch.setattr(engines, "engines", lambda unit, with_mapped: list(found["engines"]) if unit == UNIT else [])
    monkeypatch.setattr(proc, "reading", found["readings"].get)
    monkeypatch.setattr(load_progress, "SECONDS", 0.01)
    monkeypatch.setattr("%s.progress_file._SECONDS" % proc.__name__.rpartition(".")[0], 0.0)
    return found


def told(path, **numbers):
    """Wait until the file says so."""

    def says():
        entry = json.loads(path.read_text())["models"].get("gpu0/llama3.1:8b") if path.exists() else None
        return entry is not None and dict(entry, **numbers) == entry and entry

    return waiting.wait_until(says, "the progress file says %s" % numbers)


def test_what_the_new_engine_reads_or_maps_counts(host, tmp_path):
    path = tmp_path / "run/load.json"
    progress = load_progress.LoadProgress(str(path))
    assert not path.exists(), "nothing is loaded yet"
    with progress.of("gpu0", UNIT, "llama3.1:8b"):
        assert set(told(path, seconds=0)) == {"seconds"}, "there is no engine yet; the other one counts for nothing"
        host["engines"].append(engine(2, host["blob"]))
        assert "read_bytes" not in told(path, total_bytes=100 * MIB), "it is not known what it reads"
        host["readings"][2] = proc.Reading(read_bytes=40 * MIB, disk_bytes=30 * MIB, mapped_bytes=MIB)
        told(path, read_bytes=40 * MIB, disk_bytes=30 * MIB)
        host["readings"][2] = proc.Reading(read_bytes=MIB, disk_bytes=0, mapped_bytes=101 * MIB)
        told(path, read_bytes=100 * MIB, disk_bytes=0)
        assert not json.loads(path.read_text())["finished"]
    progress.finish()
    assert json.loads(path.read_text())["finished"]


def test_a_load_that_fails_ends_the_looking_too(host, tmp_path):
    before = set(threading.enumerate())
    with pytest.raises(OSError), load_progress.LoadProgress(str(tmp_path / "load.json")).of("gpu0", UNIT, "tiny"):
        assert set(threading.enumerate()) - before
        raise OSError("no")
    assert not set(threading.enumerate()) - before
