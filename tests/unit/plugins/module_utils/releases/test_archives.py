# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Archives of releases: checksums, and releases that are refused."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import archives
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.release import is_checked
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.versions import parse_version


@pytest.mark.parametrize(
    "version, architecture, given, expected",
    [
        ("0.32.15", "amd64", "", archives.CHECKSUMS["0.32.15"]["amd64"]),
        ("0.32.15", "arm64", "", "http://x/v/sha256sum.txt"),
        ("0.32.15", "amd64", "sha256:" + "c" * 64, "c" * 64),
        ("0.32.15", "amd64", "http://y/sums", "http://y/sums"),
        ("0.99.0", "amd64", "", ""),
        ("0.99.0", "arm64", "c" * 64, "c" * 64),
        ("0.32.15", "", "", ""),
    ],
)
def test_the_checksum_of_an_archive(version, architecture, given, expected):
    assert archives.checksum(version, architecture, given, "http://x/v/a.tar.zst") == expected


def test_releases_with_known_holes():
    versions = ("0.31.2", "0.32.9", "0.32.10-rc1", "0.32.10", "0.100.0")
    assert [version for version in versions if archives.allowed(version)] == ["0.32.10", "0.100.0"]


def test_every_hash_is_one_and_belongs_to_a_release_that_may_be_installed():
    assert list(archives.CHECKSUMS) == sorted(archives.CHECKSUMS, key=archives._order, reverse=True)
    hashes = []
    for version, known in archives.CHECKSUMS.items():
        assert archives.allowed(version) and sorted(known) == ["amd64", "arm64"]
        from_0_33 = archives._order(version) >= archives._order("0.33.0")
        assert archives.is_sha256(known["amd64"]) and archives.is_sha256(known["arm64"]) == from_0_33
        hashes += filter(archives.is_sha256, known.values())
    assert len(hashes) == len(set(hashes)) == 12
    assert archives.checksum("0.35.1", "arm64", "", "http://x/a").startswith("b1b1c85d2513")


@pytest.mark.parametrize(
    "version, given, pinned",
    [
        ("0.32.15", "", True),
        ("0.99.0", "", False),
        ("0.99.0", "c" * 64, True),
        ("0.99.0", "sha256:" + "C" * 64, True),
        ("0.32.15", "https://x/sha256sum.txt", False),  # what the user gives wins
        ("0.32.15", "c" * 65, False),
    ],
)
def test_a_hash_is_pinned_where_nobody_has_to_be_asked_for_it(version, given, pinned):
    assert archives.is_pinned(version, given) is pinned


def test_the_hash_of_a_checksum():
    assert archives.sha256_of("sha256:" + "A" * 64) == archives.sha256_of("a" * 64) == "a" * 64
    assert archives.sha256_of("https://x/sha256sum.txt") is None


def test_the_default_release_is_the_newest_that_is_checked_and_known():
    known = [version for version in archives.CHECKSUMS if is_checked(parse_version(version))]
    defaults = pathlib.Path(__file__).resolve().parents[5] / "roles" / "ollama_multigpu" / "defaults" / "main.yml"
    assert known[0] == yaml.safe_load(defaults.read_text(encoding="utf-8"))["ollama_multigpu_version"]
