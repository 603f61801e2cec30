# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs the scenarios with a real Ollama release.

OLLAMA_ARCHIVE names its ollama-linux-amd64.tar.zst; the rig puts its engine stand-in into it.
"""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.integration.support import molecule, scenarios

ARCHIVE = os.environ.get("OLLAMA_ARCHIVE", "")


@pytest.mark.real
@pytest.mark.hosts
@pytest.mark.skipif(
    not ARCHIVE,
    reason="NOT RUN with a real Ollama: OLLAMA_ARCHIVE names no release archive (make real OLLAMA_ARCHIVE=path)",
)
@pytest.mark.parametrize("name", scenarios())
def test_scenario_with_the_real_server(name, collections, podman_hosts, tmp_path):
    assert pathlib.Path(ARCHIVE).is_file(), "OLLAMA_ARCHIVE=%s is no file" % ARCHIVE
    molecule(name, collections, tmp_path, OLLAMA_ARCHIVE=str(pathlib.Path(ARCHIVE).absolute()))
