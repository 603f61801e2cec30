# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs every Molecule scenario with the collection installed from the archive."""

from __future__ import annotations

import pytest

from tests.integration.support import molecule, scenarios

#: Runs over an archive with the layout of a real release, as `make real` does, so that this is tested as well.
OVER_AN_ARCHIVE = "change"
EXPECTED = {"change", "default", "drift", "existing", "liar", "no_gpu", "spread"}


def test_scenarios_are_there():
    assert EXPECTED <= set(scenarios())


@pytest.mark.hosts
@pytest.mark.parametrize("name", scenarios())
def test_scenario(name, collections, podman_hosts, double_as_release, tmp_path):
    variables = {"OLLAMA_ARCHIVE": str(double_as_release)} if name == OVER_AN_ARCHIVE else {}
    molecule(name, collections, tmp_path, **variables)
