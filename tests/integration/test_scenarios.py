# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs every Molecule scenario with the collection installed from the archive: converge, idempotence, verify."""

from __future__ import annotations

import pytest

from tests.integration.support import molecule, scenarios

EXPECTED = {"change", "default", "drift", "existing", "liar", "no_gpu", "spread"}


def test_scenarios_are_there():
    assert EXPECTED <= set(scenarios())


@pytest.mark.hosts
@pytest.mark.parametrize("name", scenarios())
def test_scenario(name, collections, podman_hosts, tmp_path):
    molecule(name, collections, tmp_path)
