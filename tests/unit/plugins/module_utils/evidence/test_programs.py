# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which programs, libraries and models are not those of one installation."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.programs import other_models, others
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import EngineProcess

SERVER = "/opt/r/bin/ollama"
PROGRAM = "/opt/r/lib/ollama/llama-server"
LIBRARIES = ["/opt/r/lib/ollama/libggml-base.so", "/opt/r/lib/ollama/cuda_v13/libggml-cuda.so"]
ARGUMENTS = ("llama-server", "--model", "/m/blobs/sha256-1", "--mmproj", "/m/blobs/sha256-2")


def engine(executable=PROGRAM, mapped=(), arguments=ARGUMENTS):
    return EngineProcess(1, "sha256-1", 1, list(arguments), 1, executable=executable, mapped=list(mapped))


@pytest.mark.parametrize(
    "server, runs_next, engines, found",
    [
        (SERVER, True, [engine(mapped=LIBRARIES), engine(mapped=LIBRARIES)], []),
        (SERVER, True, [], []),
        ("/bin/ollama", True, [engine("/lib/ollama/llama-server", ["/lib/ollama/libggml.so"])], []),
        (SERVER, False, [engine()], [SERVER]),
        (SERVER, None, [engine()], None),
        (SERVER, True, [engine(), EngineProcess(1, "", 1, [], 1, executable=PROGRAM)], None),
        (SERVER, True, [engine(mapped=["/opt/r2/lib/ollama/libggml.so"])], ["/opt/r2/lib/ollama/libggml.so"]),
        (SERVER, True, [engine(mapped=[LIBRARIES[0] + " (deleted)"])], [LIBRARIES[0] + " (deleted)"]),
        (SERVER, True, [engine(), engine("/tmp/other")], ["/tmp/other"]),
        # Scripts and programs that the dynamic linker was asked to run are known by their arguments.
        ("/usr/bin/python3", True, [engine("/usr/bin/python3", arguments=["python3", PROGRAM, "--model", "/x"])], []),
        (SERVER, True, [engine("/usr/bin/sh", arguments=["sh", "/opt/s/bin/ollama"])], [SERVER, "/opt/s/bin/ollama"]),
        (SERVER, True, [engine("/usr/bin/python3", arguments=["llama-server", "--model", "/x"])], ["/usr/bin/python3"]),
    ],
)
def test_programs_and_libraries_of_one_installation(server, runs_next, engines, found):
    assert others(server, runs_next, engines) == found


def test_models_that_the_arguments_do_not_name():
    assert other_models(engine(mapped=["/m/blobs/sha256-1", "/m/blobs/sha256-2", *LIBRARIES])) == []
    assert other_models(engine(mapped=["/m/blobs/sha256-1 (deleted)"])) == ["sha256-1 (deleted)"]
    assert other_models(engine(mapped=["/m/other.gguf"])) == ["other.gguf"]
    assert other_models(engine(mapped=["/m/other.gguf"], arguments=[])) == []  # arguments that cannot be read
