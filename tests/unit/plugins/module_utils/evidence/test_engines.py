# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which processes are engines, and which of them serves a model."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.engines import engine_of, engines, of_server
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import EngineProcess

UNIT = "ollama@gpu0.service"


def process(root, pid, words, started, unit=UNIT, state="S", parent=10):
    """Write what /proc says of a process."""
    directory = root / str(pid)
    directory.mkdir()
    (directory / "cgroup").write_text("0::/system.slice/%s\n" % unit)
    (directory / "cmdline").write_text("\0".join(words) + "\0")
    (directory / "stat").write_text(
        "%d (x) %s %d %s" % (pid, state, parent, " ".join(["0"] * 17 + [str(started), "0"]))
    )
    (directory / "environ").write_bytes(b"CUDA_VISIBLE_DEVICES=GPU-a\0LLAMA_ARG_FIT=on\0PATH=/bin\0")


def test_engines_are_the_living_processes_of_the_unit_with_a_model(tmp_path):
    model = ["llama-server", "--model", "/m/blobs/sha256-1"]
    process(tmp_path, 10, ["ollama", "serve"], 1)
    process(tmp_path, 12, model + ["--port", "40001"], 9)
    process(tmp_path, 13, model, 8)
    process(tmp_path, 14, model, 7, unit="ollama.service")
    process(tmp_path, 15, model, 6, state="Z")
    environment = {"CUDA_VISIBLE_DEVICES": "GPU-a", "LLAMA_ARG_FIT": "on"}
    assert engines(UNIT, str(tmp_path)) == [
        EngineProcess(13, "sha256-1", None, model, 8, environment, 10),
        EngineProcess(12, "sha256-1", 40001, model + ["--port", "40001"], 9, environment, 10),
    ]


def test_what_an_engine_was_given_last_and_what_it_works_with(tmp_path):
    words = ["llama-server", "--model", "/m/blobs/sha256-1", "-m", "/m/blobs/sha256-2"]
    process(tmp_path, 12, words, 9)
    process(tmp_path, 13, ["python3", "-m", "http.server"], 8)
    mapped = ["/m/blobs/sha256-2 (deleted)", "/opt/lib/libggml-cuda.so", "/usr/lib/libc.so.6", "/x/my.gguf"]
    mapped.append("/x/other.gguf (deleted)")
    (tmp_path / "12" / "maps").write_text("".join("0-1 r--p 0 fe:01 17 %s\n" % file for file in mapped))
    (found,) = engines(UNIT, str(tmp_path))
    assert found.model_file == "sha256-2"
    assert found.mapped == ["/m/blobs/sha256-2 (deleted)", "/opt/lib/libggml-cuda.so", *mapped[3:]]
    assert engines(UNIT, str(tmp_path), with_mapped=False)[0].mapped is None


def test_what_cannot_be_read_of_an_engine_is_unknown(tmp_path):
    process(tmp_path, 12, ["llama-server", "--model", "/m/blobs/sha256-1"], 9)
    (tmp_path / "12" / "environ").unlink()
    assert engines(UNIT, str(tmp_path))[0].environment is None


def engine(pid, model_file="sha256-1", context="4096", parent=None):
    return EngineProcess(pid, model_file, None, ["llama-server", "-c", context], pid, parent=parent)


def test_an_engine_that_a_killed_server_has_left_serves_nothing():
    """It is in the unit's control group, with the same model, and was even started later (its clock says so)."""
    own, left = engine(1, parent=10), engine(2, parent=1)
    assert of_server([own, left], 10) == [own]
    assert of_server([left], 10) == []
    behind_a_script = engine(3, parent=11)
    assert of_server([left, behind_a_script], 10) == [behind_a_script]
    assert of_server([own, left], 0) == [own, left]


@pytest.mark.parametrize(
    "candidates, model_file, context_length, only_model, pid",
    [
        ([engine(1), engine(2, "sha256-2")], "sha256-1", None, False, 1),
        ([engine(1), engine(2)], "sha256-1", None, False, 2),
        ([engine(1, context="8192"), engine(2)], "sha256-1", 8192, False, 1),
        ([engine(1, "sha256-2")], "sha256-1", None, True, 1),
        ([engine(1, "sha256-2")], None, None, True, 1),
        ([engine(1, "sha256-2")], None, None, False, None),
        ([], "sha256-1", None, True, None),
    ],
)
def test_the_engine_of_a_model(candidates, model_file, context_length, only_model, pid):
    found = engine_of(candidates, model_file, context_length, only_model)
    assert (found.pid if found else None) == pid
