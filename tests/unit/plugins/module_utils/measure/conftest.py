# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Fixtures of the tests of measuring: a store with models, the engine stand-in, a rig of two GPUs."""

from __future__ import annotations

import sys

import pytest

from tests.rig.engine.build import build_engine
from tests.rig.gpus import state
from tests.rig.models import store as rig_models


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("store")
    for name in ("llama4:16x17b", "llama3.1:8b"):
        rig_models.write_into_store(name, directory)
    return str(directory)


@pytest.fixture(scope="module", name="engine")
def _engine(tmp_path_factory):
    return str(build_engine(tmp_path_factory.mktemp("engine") / "llama-server", sys.executable))


@pytest.fixture(name="rig")
def _rig(tmp_path, monkeypatch):
    """Two A6000 whose state file is given; the value is its path."""
    path = str(tmp_path / "rig" / "state")
    monkeypatch.setenv("GPU_RIG_STATE", path)
    state.main(["preset", "rtx-a6000-x2"])
    return path
