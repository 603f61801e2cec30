# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The body of an answer in portions of any size."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.next_bytes import next_bytes


@pytest.mark.parametrize("skipped", [0, 1, 3, 4, 6, 9])
@pytest.mark.parametrize("portion", [1, 2, 10])
def test_every_byte_comes_once_from_the_first_that_is_wanted_on(skipped, portion):
    read = next_bytes(iter([b"abc", b"d", b"ef"]), skipped)
    found = list(iter(lambda: read(portion), b""))
    assert b"".join(found) == b"abcdef"[skipped:] and all(len(part) <= portion for part in found)
    assert read(portion) == b""
