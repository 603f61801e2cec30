# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What was not checked of a release that is newer than those that are known."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.unchecked import unchecked_parts


def test_what_is_not_known_of_a_release():
    known = unchecked_parts("0.35.1", (0, 35, 1))
    assert len(known) == 4 and not any("archive" in part for part in known)
    assert unchecked_parts("0.40.0", (0, 40, 0)) == [
        *known,
        "its archive, apart from a checksum that you give",
        "whether holes are known in it",
    ]
    # Its architectures and libraries were read.
    assert len(unchecked_parts("0.33.0", (0, 33, 0))) == 4
