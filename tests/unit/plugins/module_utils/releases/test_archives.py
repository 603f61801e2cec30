# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Archives of releases: checksums, and releases that are refused."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import archives


@pytest.mark.parametrize(
    "version, architecture, given, expected",
    [
        ("0.32.15", "amd64", "", archives.CHECKSUMS["0.32.15"]["amd64"]),
        ("0.32.15", "arm64", "", "http://x/v/sha256sum.txt"),
        ("0.32.15", "amd64", "sha256:" + "c" * 64, "c" * 64),
        ("0.32.15", "amd64", "http://y/sums", "http://y/sums"),
        ("0.99.0", "amd64", "", ""),
        ("0.32.15", "", "", ""),
    ],
)
def test_the_checksum_of_an_archive(version, architecture, given, expected):
    assert archives.checksum(version, architecture, given, "http://x/v/a.tar.zst") == expected


def test_releases_with_known_holes():
    assert [version for version in ("0.31.1", "0.31.2-rc1", "0.31.2", "0.100.0") if archives.allowed(version)] == [
        "0.31.2",
        "0.100.0",
    ]
