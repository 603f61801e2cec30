# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes and durations in words."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import sizes
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import GIB, MIB


@pytest.mark.parametrize(
    "size, words",
    [
        (0, "0 MiB"),
        (214 * MIB, "214 MiB"),
        (214 * MIB + MIB // 2 + 1, "215 MiB"),
        (GIB - 1, "1.0 GiB"),
        (GIB, "1.0 GiB"),
        (47.94 * GIB, "47.9 GiB"),
        (None, "an unknown amount"),
    ],
)
def test_bytes_in_words(size, words):
    assert sizes.gib(size) == words


def test_bytes_in_a_table():
    assert sizes.mib(47 * GIB) == "48128 MiB" and sizes.mib(None) == "unknown" and sizes.mib(None, "-") == "-"


@pytest.mark.parametrize(
    "value, length",
    [
        (300, 300),
        ("300", 300),
        (-1, -1),
        (" -1 ", -1),
        ("10m", "10m"),
        ("1h30m", "1h30m"),
        ("-1.5h", "-1.5h"),
        ("250ms", "250ms"),
        (True, None),
        (None, None),
        ("", None),
        ("soon", None),
        ("10 m", None),
        ("1d", None),
        (1.5, None),
        ("\u0661m", None),
        ("5m\n5", None),
    ],
)
def test_a_duration_as_the_api_takes_it(value, length):
    assert sizes.duration(value) == length


@pytest.mark.parametrize(
    "length, zero", [(0, True), ("0s", True), ("0h0.0m", True), (-1, False), ("1ms", False), (10, False)]
)
def test_no_time_at_all(length, zero):
    assert sizes.is_zero(length) is zero


@pytest.mark.parametrize("count, said", [(0, "0 hosts"), (1, "1 host"), (3, "3 hosts")])
def test_things_are_counted_in_words(count, said):
    assert sizes.counted(count, "host") == said
