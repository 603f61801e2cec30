# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs the scenarios with a real Ollama release.

OLLAMA_ARCHIVE names its ollama-linux-amd64.tar.zst; the rig puts its engine stand-in into it. Without one, `make real`
(GPUFLEET_REAL) runs over the double, packed as a real release is: that proves the lane and not Ollama.
"""

from __future__ import annotations

import os
import pathlib
import warnings

import pytest

from tests.integration.support import molecule, scenarios

ARCHIVE = os.environ.get("OLLAMA_ARCHIVE", "")
LANE_ONLY = (
    "OLLAMA_ARCHIVE names no release archive: the scenarios run over the double, packed as a release is. This proves "
    "the lane, NOT that the collection works with a real Ollama (make real OLLAMA_ARCHIVE=path)"
)


@pytest.fixture(scope="module")
def release(double_as_release):
    """The archive that the scenarios run over."""
    if not ARCHIVE:
        warnings.warn(LANE_ONLY, stacklevel=1)
        return double_as_release
    assert pathlib.Path(ARCHIVE).is_file(), "OLLAMA_ARCHIVE=%s is no file" % ARCHIVE
    return pathlib.Path(ARCHIVE).absolute()


@pytest.mark.real
@pytest.mark.hosts
@pytest.mark.skipif(
    not ARCHIVE and not os.environ.get("GPUFLEET_REAL"),
    reason="NOT RUN with a real Ollama: OLLAMA_ARCHIVE names no release archive (make real OLLAMA_ARCHIVE=path)",
)
@pytest.mark.parametrize("name", scenarios())
def test_scenario_with_the_archive_of_a_release(name, collections, podman_hosts, release, tmp_path):
    molecule(name, collections, tmp_path, OLLAMA_ARCHIVE=str(release))
