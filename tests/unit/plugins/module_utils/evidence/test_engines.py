# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which processes are engines, and which of them serves a model."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.engines import engine_of, engines
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import EngineProcess

UNIT = "ollama@gpu0.service"


def process(root, pid, words, started, unit=UNIT, state="S"):
    """Write what /proc says of a process."""
    directory = root / str(pid)
    directory.mkdir()
    (directory / "cgroup").write_text("0::/system.slice/%s\n" % unit)
    (directory / "cmdline").write_text("\0".join(words) + "\0")
    (directory / "stat").write_text("%d (x) %s %s" % (pid, state, " ".join(["0"] * 18 + [str(started), "0"])))
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
        EngineProcess(13, "sha256-1", None, model, 8, environment),
        EngineProcess(12, "sha256-1", 40001, model + ["--port", "40001"], 9, environment),
    ]


def engine(pid, model_file="sha256-1", context="4096"):
    return EngineProcess(pid, model_file, None, ["llama-server", "-c", context], pid)


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
