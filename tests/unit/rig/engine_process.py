# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine stand-in as a process, with models and the GPUs of a state file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest

from tests.rig.engine.build import build_engine
from tests.rig.gpus import state
from tests.rig.models import store
from tests.rig.waiting import PATIENCE


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    names = ("llama4:16x17b", "llama3.1:8b", "tiny:latest", "small:latest", "heads:latest")
    for name in names:
        store.write_model(name, directory / name.replace(":", "-"))
    return {name: str(directory / name.replace(":", "-")) for name in names}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build_engine(tmp_path_factory.mktemp("engine") / "llama-server", sys.executable)


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """Two A6000, loads without delay. The value is the path of the state file."""
    path = str(tmp_path / "rig" / "state")
    monkeypatch.setenv("GPU_RIG_STATE", path)
    for name in [name for name in os.environ if name.startswith(("LLAMA_ARG", "CUDA_"))]:
        monkeypatch.delenv(name)
    state.main(["preset", "rtx-a6000-x2"])
    state.main(["set", "engine.load_ms", "0", "engine.token_ms", "1"])
    return path


class Running:
    """A running engine."""

    def __init__(self, process, log):
        self.process, self.log, self.pid = process, log, process.pid
        self.url = "http://" + re.search(r"listening on http://(\S+)", "\n".join(log)).group(1)

    def post(self, path, document):
        """The answer's body as text."""
        request = urllib.request.Request(
            self.url + path, json.dumps(document).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read().decode()

    def holds(self):
        """Bytes of this engine per GPU, from the state file."""
        return [
            [p["bytes"] for p in gpu["processes"] if p["pid"] == self.pid and p["alive"]]
            for gpu in state.gpus(state.load())
        ]


@contextlib.contextmanager
def serving(program, model, *arguments, environment=()):
    process = subprocess.Popen(
        [str(program), "--model", model, "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **dict(environment)},
    )
    log = []
    try:
        for line in process.stderr:
            log.append(line.rstrip("\n"))
            if "all slots are idle" in line:
                break
        else:
            raise AssertionError("the engine ended with %s: %s" % (process.wait(), "\n".join(log[-8:])))
        yield Running(process, log)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def refused(program, model, *arguments, environment=()):
    """The log of a load that must fail with status 1."""
    done = subprocess.run(
        [str(program), "--model", model, "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **dict(environment)},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
