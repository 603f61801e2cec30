# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Fixtures of the tests of measuring: a store with models, the engine stand-in, a rig of two GPUs.

The engine runs as another user than root. So everything lies where that user can read it, and `nobody` stands for the
service user, which this machine need not have.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import tempfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.rig.engine.build import build_engine
from tests.rig.gpus import state
from tests.rig.models import store as rig_models


@contextlib.contextmanager
def open_directory():
    """A directory that every user may read and write."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="measure-"))
    directory.chmod(0o777)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def _service_user(monkeypatch):
    monkeypatch.setattr(paths, "USER", "nobody")


@pytest.fixture(name="tmp_path")
def _tmp_path():
    with open_directory() as directory:
        yield directory


@pytest.fixture(scope="module", name="store")
def _store():
    with open_directory() as directory:
        for name in ("llama4:16x17b", "llama3.1:8b"):
            rig_models.write_into_store(name, directory)
        yield str(directory)


@pytest.fixture(scope="module", name="engine")
def _engine():
    with open_directory() as directory:
        engine = build_engine(directory / "llama-server")  # for the system's Python, which everybody may run
        engine.chmod(0o755)
        yield str(engine)


@pytest.fixture(name="rig")
def _rig(tmp_path, monkeypatch):
    """Two A6000 whose state file is given; the value is its path."""
    path = str(tmp_path / "rig" / "state")
    monkeypatch.setenv("GPU_RIG_STATE", path)
    state.main(["preset", "rtx-a6000-x2"])
    return path
