# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A release is put in its place whole or not at all, and nothing that came with it runs as root."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import threading

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
        patch.setattr(release_install, "_clean", lambda release, keep_download=False: None)
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


def _unpack_slowly(wanted, begun, go_on):
    """In another process: install a release, and stop in the middle of it until a file is there."""
    real = release_install.release_archive.unpack

    def unpack(archive, directory, user):
        unpacked = real(archive, directory, user)
        begun.set()
        go_on.wait()
        return unpacked

    release_install.release_archive.unpack = unpack
    put(wanted, release_archives.release(wanted.version))


@pytest.fixture(name="other")
def _other(place):
    """Another process that has unpacked 0.32.14 and goes on when `go_on` is set."""
    context = multiprocessing.get_context("fork")
    begun, go_on = context.Event(), context.Event()
    wanted = Release("0.32.14", SUM, release_in(place).parent)
    process = context.Process(target=_unpack_slowly, args=(wanted, begun, go_on))
    process.start()
    process.go_on, process.release = go_on, wanted
    assert begun.wait(60)
    yield process
    process.kill()
    process.join()


def test_one_that_installs_at_the_same_time_is_waited_for(place, other):
    """Neither takes away what the other unpacks, and what the first has put in its place stays."""
    threading.Timer(0.5, other.go_on.set).start()
    put(release_in(place), release_archives.release())
    other.join(60)
    assert other.exitcode == 0
    assert names(release_in(place).parent) == ["0.32.14", "0.32.15"]
    assert other.release.installed() == release_in(place).installed() == SUM


def test_one_that_does_not_end_is_named_and_left_alone(place, other):
    with pytest.raises(ArchiveError, match="another process has been installing a release in %s" % place):
        with prepared(release_in(place), patience=0.5):
            pass
    other.go_on.set()
    other.join(60)
    assert other.exitcode == 0 and names(release_in(place).parent) == ["0.32.14"]


def test_one_that_was_killed_is_not_waited_for(place, other):
    os.kill(other.pid, signal.SIGKILL)
    put(release_in(place), release_archives.release())
    assert names(release_in(place).parent) == ["0.32.15"]


def test_directories_that_another_process_takes_away_are_made_again(place, monkeypatch):
    """One that fails removes what it has made while this one waits for it."""
    wanted, real, taken = release_in(place), release_install.fcntl.flock, []

    def flock(descriptor, operation):
        real(descriptor, operation)
        if not taken:
            taken.append(wanted.parent)
            os.rmdir(wanted.parent)

    monkeypatch.setattr(release_install.fcntl, "flock", flock)
    put(wanted, release_archives.release())
    assert taken and names(wanted.parent) == ["0.32.15"]


@pytest.mark.parametrize("keeps, left", [(True, b"beginning"), (False, None)])
def test_a_download_that_was_interrupted_is_kept_for_the_next_run(tmp_path, keeps, left):
    release = Release("0.32.15", "a" * 64, str(tmp_path / "releases"))

    class Interrupted(Exception):
        keeps_download = keeps

    with pytest.raises(Interrupted), prepared(release):
        with open(release.archive, "wb") as stream:
            stream.write(b"beginning")
        raise Interrupted
    assert os.path.exists(release.archive) == keeps
    with prepared(release):
        assert (open(release.archive, "rb").read() if os.path.exists(release.archive) else None) == left
