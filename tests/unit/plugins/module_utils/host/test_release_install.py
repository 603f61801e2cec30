# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A release is put in its place whole or not at all, and nothing that came with it runs as root."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import release_install
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.as_user import NOBODY, account
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.release_archive import ArchiveError
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.release_install import Release, install, prepared

from tests.unit.plugins.module_utils.host import release_archives
from tests.unit.plugins.module_utils.host.release_archives import pack

place = release_archives.place
SUM = "a" * 64


def release_in(place, checksum=SUM):
    return Release("0.32.15", checksum, str(place / "ours" / "releases"))


def put(wanted, content):
    with prepared(wanted):
        pack(wanted.archive, content)
        return install(wanted, account(NOBODY))


def names(path):
    return sorted(os.listdir(path))


def test_a_release_is_put_in_its_place_with_its_marker(place):
    wanted = release_in(place)
    assert wanted.installed() is None
    assert put(wanted, release_archives.release()).members == 8
    assert wanted.installed() == SUM
    assert names(wanted.parent) == ["0.32.15"] and names(wanted.directory) == [".complete", "bin", "lib"]
    marker = os.path.join(wanted.directory, ".complete")
    with open(marker) as stream:
        assert json.load(stream) == {"checksum": SUM, "version": "0.32.15"}
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (wanted.directory, marker, wanted.parent)]
    assert modes == [0o755, 0o644, 0o755]


def test_another_archive_of_the_same_version_replaces_it(place):
    put(release_in(place), release_archives.release() + [release_archives.member("old", b"x")])
    wanted = release_in(place, "b" * 64)
    put(wanted, release_archives.release())
    assert wanted.installed() == "b" * 64 and names(wanted.parent) == ["0.32.15"]
    assert names(wanted.directory) == [".complete", "bin", "lib"]


@pytest.mark.parametrize(
    "content, words",
    [
        (release_archives.release("0.32.14"), "says that its version is '0.32.14'"),
        (release_archives.release("0.32.150"), "says that its version is '0.32.150'"),
        (release_archives.release(text="#!/bin/sh\necho 0.32.15 is what I am\n"), "says no version, but '0.32.15 is"),
        (release_archives.release(text="#!/bin/sh\nyes\n"), "program printed more than 64 KiB"),
        (release_archives.release(text="#!/no/such/program\n"), "program cannot be started as the user nobody"),
        (release_archives.release()[3:], "has no program bin/ollama"),
        ([release_archives.link("bin/ollama", "../../../../bin/sh")], "'bin/ollama' is refused: it points to"),
        (b"no archive", "damaged"),
    ],
)
def test_a_release_that_is_refused_changes_nothing(place, content, words):
    with pytest.raises(ArchiveError, match=words):
        put(release_in(place), content)
    assert names(place) == []
    before = release_in(place)
    put(before, release_archives.release())
    with pytest.raises(ArchiveError, match=words):
        put(release_in(place, "b" * 64), content)
    assert before.installed() == SUM and names(before.parent) == ["0.32.15"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_program_is_not_asked_as_root(place):
    text = "#!/bin/sh\necho client version is $(id -u)-$(env | wc -l)-$(touch %s/x 2>/dev/null && echo wrote)\n" % place
    with pytest.raises(ArchiveError, match="its version is '%d-[45]-'" % account(NOBODY).uid):
        put(release_in(place), release_archives.release(text=text))


def test_the_draft_is_closed_to_others_while_it_is_unpacked(place, monkeypatch):
    seen = []

    def unpack(_archive, directory, _user):
        seen.append(stat.S_IMODE(os.stat(directory).st_mode))
        raise ArchiveError("enough")

    monkeypatch.setattr(release_install.release_archive, "unpack", unpack)
    with pytest.raises(ArchiveError, match="enough"):
        put(release_in(place), release_archives.release())
    assert seen == [0o700]


class Killed(BaseException):
    """The end of a process: nothing after it runs."""


@pytest.mark.parametrize("moment", ["unpack", "rename", "second rename"])
def test_a_run_that_is_killed_is_completed_by_the_next(place, monkeypatch, moment):
    """What is left of it is neither a release nor in the way of the next run."""
    first = release_in(place)
    put(first, release_archives.release())
    wanted, real = release_in(place, "b" * 64), os.rename
    renames = []

    def killed(*unused):
        raise Killed

    def rename(*names):
        renames.append(names)
        if len(renames) == {"rename": 1, "second rename": 2}.get(moment):
            raise Killed
        real(*names)

    with monkeypatch.context() as patch:
        patch.setattr(release_install, "_clean", lambda release: None)
        patch.setattr(release_install.os, "rename", rename)
        if moment == "unpack":
            patch.setattr(release_install, "_check_version", killed)
        with pytest.raises(Killed):
            put(wanted, release_archives.release())
    assert wanted.installed() == (None if moment == "second rename" else SUM)
    with prepared(wanted):
        assert set(names(wanted.parent)) <= {"0.32.15", ".download"} and os.path.exists(wanted.archive)
        install(wanted, account(NOBODY))
    assert wanted.installed() == "b" * 64 and names(wanted.parent) == ["0.32.15"]


def test_a_release_without_its_marker_is_removed(place):
    put(release_in(place), release_archives.release())
    cut = place / "ours" / "releases" / "0.32.14"
    cut.mkdir()
    (cut / "bin").write_text("")
    put(release_in(place, "b" * 64), release_archives.release())
    assert names(release_in(place).parent) == ["0.32.15"]


def test_a_directory_that_others_may_change_is_refused(place):
    put(release_in(place), release_archives.release())
    parent = place / "ours" / "releases"
    parent.chmod(0o775)
    with pytest.raises(ArchiveError, match="is not a directory that root alone can change"):
        put(release_in(place, "b" * 64), release_archives.release())
    parent.rename(place / "elsewhere")
    parent.symlink_to(place / "elsewhere")
    with pytest.raises(ArchiveError, match="is not a directory that root alone can change"):
        put(release_in(place, "b" * 64), release_archives.release())
