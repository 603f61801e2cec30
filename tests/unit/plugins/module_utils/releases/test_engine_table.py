# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The one table of what releases are built of."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import engine_table, limits
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.release import NEWEST_CHECKED

RELEASES = pathlib.Path(engine_table.__file__).parent


def test_builds_grow_with_the_releases_and_no_architecture_is_new_twice():
    builds = [int(row.build[1:]) for row in engine_table.TABLE]
    firsts = [row.first for row in engine_table.TABLE]
    assert builds == sorted(builds, reverse=True) and firsts == sorted(firsts, reverse=True)
    added = [name for row in engine_table.TABLE for name in row.new_architectures]
    assert len(added) == len(set(added)) and not set(added) & set(engine_table.LAST_WITH)
    assert limits.architectures((0, 32, 15)) == set(added)


@pytest.mark.parametrize(
    "version, first", [((0, 30, 3), (0, 30, 1)), ((0, 33, 0), (0, 32, 15)), ((0, 24, 0), (0, 30, 0))]
)
def test_the_row_of_a_release(version, first):
    assert engine_table.of(version).first == first


def test_what_the_table_has_stands_nowhere_else():
    """Builds of llama.cpp, CUDA libraries and the newest release that was read are written once."""
    assert engine_table.NEWEST_READ == NEWEST_CHECKED
    said = re.compile(r'"b[0-9]{4,5}"|"cuda_(?:v|jetpack)[0-9]|^NEWEST_READ', re.MULTILINE)
    others = [path for path in RELEASES.glob("*.py") if path.name != "engine_table.py"]
    assert not [path.name for path in others if said.search(path.read_text(encoding="utf-8"))]
