# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What every release answers."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions


@pytest.mark.parametrize(
    "version, words",
    [
        ("0.35.1", "is newer than the releases .* by the rules of 0.33.0"),
        ("0.33.1", "is newer than"),
        ("0.33.0", None),
        ("0.33.0-rc2", None),
        ("0.32.15", None),
        ("0.30.0", None),
        ("0.5.12", "is older than"),
    ],
)
def test_a_release_that_was_not_checked_has_a_note(version, words):
    notes = versions.release_of(version).notes()
    assert re.search(words, notes[0]) if words else notes == []


def test_a_release_has_the_version_in_both_forms():
    found = versions.release_of("v0.32.15")
    assert (found.version, found.numbers) == ("0.32.15", (0, 32, 15))
