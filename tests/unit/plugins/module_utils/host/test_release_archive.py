# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Archives of releases: what is unpacked of them, and what is refused."""

from __future__ import annotations

import os
import pathlib
import stat
import tarfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import program_as_user, release_archive
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.as_user import NOBODY, account
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.release_archive import ArchiveError, unpack

from tests.unit.plugins.module_utils.host.release_archives import directory, link, member, pack, release, tar


@pytest.fixture(name="tree")
def _tree(tmp_path):
    (tmp_path / "tree").mkdir(mode=0o700)
    return tmp_path / "tree"


def unpacked(tmp_path, content):
    return unpack(pack(tmp_path / "archive", content), str(tmp_path / "tree"), account(NOBODY))


def names(tree):
    return sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*"))


def test_a_release_is_unpacked_with_roots_modes(tmp_path, tree):
    if os.geteuid() == 0:
        os.chown(tree, 0, 12345)
        tree.chmod(0o2700)  # a directory that hands its group down
    old = os.umask(0o077)
    try:
        found = unpacked(tmp_path, release())
    finally:
        os.umask(old)
    assert found.members == 8 and found.size_bytes == sum(len(data) for _entry, data in release())
    assert names(tree) == [
        "bin",
        "bin/ollama",
        "lib",
        "lib/ollama",
        "lib/ollama/copy.so",
        "lib/ollama/cuda_v12",
        "lib/ollama/cuda_v12/libcublas.so.12",
        "lib/ollama/cuda_v12/libcublas.so.12.8",
        "lib/ollama/mlx_cuda",
        "lib/ollama/mlx_cuda/libcublas.so.12",
        "lib/ollama/notes",
    ]
    for path in tree.rglob("*"):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()), path
        if not path.is_symlink():
            executable = path.is_dir() or path.name in ("ollama", "libcublas.so.12.8", "copy.so")
            assert stat.S_IMODE(status.st_mode) & 0o1777 == (0o755 if executable else 0o644), path
    assert (tree / "lib/ollama/mlx_cuda/libcublas.so.12").read_bytes() == b"library"


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_of_every_format(tmp_path, tree, form):
    name = "lib/%s/%s" % ("d" * 60, "f" * 90)
    unpacked(tmp_path, tar([member(name, b"x")], form))
    assert (tree / name).read_bytes() == b"x"


REFUSED = {
    "an absolute path": ([member("/etc/x", b"x")], "'/etc/x' is refused: its name leads elsewhere"),
    "a path that goes up": ([member("bin/../../x", b"x")], r"'bin/\.\./\.\./x' is refused"),
    "a newline": ([member("bin/a\nb", b"x")], r"'bin/a\\nb' is refused"),
    "a path through a link": (
        [directory("real"), link("lib", "real"), member("lib/x", b"x")],
        "'lib/x' is refused: it goes through lib, which is a link",
    ),
    "a path through a file": ([member("lib", b"x"), member("lib/x", b"x")], "goes through lib, which is a file"),
    "a file in the place of a link": ([link("x", "y"), member("x", b"evil")], "'x' is refused: it is in it twice"),
    "a directory in the place of a link": ([link("x", "."), directory("x")], "'x' is refused: it is in it twice"),
    "an absolute link": ([link("lib/x", "/etc")], "'lib/x' is refused: it points to '/etc'"),
    "a link that goes up": ([link("lib/x", "../../etc")], r"it points to '\.\./\.\./etc'"),
    # Without the rule, y would lead up from where x leads: x is the top directory.
    "a link that goes up behind another": (
        [directory("a/b"), link("a/b/x", "../.."), link("y", "a/b/x/../etc")],
        r"it points to 'a/b/x/\.\./etc'",
    ),
    "an empty link": ([link("x", "")], "it points to ''"),
    "a hard link to a file of the host": (
        [link("x", "/etc/shadow", tarfile.LNKTYPE)],
        "member '/etc/shadow' is refused",
    ),
    "a hard link that goes up": ([link("x", "../shadow", tarfile.LNKTYPE)], r"'\.\./shadow' is refused"),
    "a hard link to a link": (
        [link("y", "z"), link("x", "y", tarfile.LNKTYPE)],
        "it is a hard link to 'y', which is no file before it",
    ),
    "a hard link to what comes later": ([link("x", "y", tarfile.LNKTYPE)], "is a hard link to 'y'"),
    "a FIFO": ([member("x", type=tarfile.FIFOTYPE)], "'x' is refused: it is a FIFO"),
    "a device": ([member("x", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "it is a device"),
    "a disk": ([member("x", type=tarfile.BLKTYPE, devmajor=8)], "it is a device"),
    "an unknown kind": ([member("x", type=b"Z")], "it is neither a file nor a directory nor a link"),
    "set-user-id": ([member("bin/ollama", b"x", 0o4755)], "has the mode 4755, with a set-id or sticky bit"),
    "set-group-id": ([member("bin/ollama", b"x", 0o2755)], "mode 2755"),
    "a sticky directory": ([directory("bin", 0o1777)], "mode 1777"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_refused_with_the_name_of_the_member(tmp_path, tree, case):
    members, words = REFUSED[case]
    with pytest.raises(ArchiveError, match=words):
        unpacked(tmp_path, members)
    assert not (tmp_path / "x").exists() and not (tmp_path / "etc").exists()


def test_a_sparse_file_is_refused(tmp_path, tree):
    entry, data = member("x", b"1\n0\n1\n".ljust(512, b"\0") + b"y")
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1024**4)}
    with pytest.raises(ArchiveError, match="neither a file nor"):
        unpacked(tmp_path, tar([(entry, data)], tarfile.PAX_FORMAT))


@pytest.mark.parametrize(
    "limit, value, words",
    [
        ("MOST_MEMBERS", 7, "has more than 7 members"),
        ("MOST_FILE_BYTES", 6, "'./bin/ollama' is refused: it has 86 bytes, more than"),
        ("MOST_BYTES", 90, "has files of more than"),
    ],
)
def test_limits(tmp_path, tree, monkeypatch, limit, value, words):
    monkeypatch.setattr(release_archive, limit, value)
    with pytest.raises(ArchiveError, match=words):
        unpacked(tmp_path, release())


def test_what_becomes_more_than_the_limit_ends(tmp_path, tree, monkeypatch):
    """Terabytes of zeros take a few bytes packed."""
    monkeypatch.setattr(release_archive, "MOST_BYTES", 1024**2)
    monkeypatch.setattr(release_archive, "MOST_MEMBERS", 1)
    with pytest.raises(ArchiveError, match="goes on after its end|larger than"):
        unpacked(tmp_path, tar([member("x", b"x")]) + bytes(64 * 1024**2))


def test_a_long_header_is_not_read_into_memory(tmp_path, tree):
    entry, data = member("x", b"x")
    entry.pax_headers = {"comment": "y" * 100000}
    with pytest.raises(ArchiveError, match="has a header of 10.... bytes, more than 65536"):
        unpacked(tmp_path, tar([(entry, data)], tarfile.PAX_FORMAT))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"not an archive at all" * 100,
        lambda data: data[:700],
        lambda data: data[:1024],  # between two members
        lambda data: data[: len(data) // 2],
        lambda data: data[:1024] + b"\xff" * 512 + data[1536:],  # by itself, tarfile ends here and says nothing
    ],
)
def test_a_tar_file_that_is_damaged_or_cut_is_said(tmp_path, tree, spoil):
    with pytest.raises(ArchiveError, match="damaged"):
        unpacked(tmp_path, spoil(tar([member("a", b"a"), member("b", b"b"), member("c", b"c" * 5000)])))


@pytest.mark.parametrize("spoil", [lambda data: data[:-20], lambda data: data[:-4] + b"\0\0\0\0", lambda data: b"x"])
def test_a_packed_file_that_is_damaged_or_cut_is_said(tmp_path, tree, spoil):
    archive = pathlib.Path(pack(tmp_path / "archive", [member("a", os.urandom(300000))]))
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(ArchiveError, match=r"damaged or cut short \(zstd finds an error in it\)"):
        unpack(str(archive), str(tree), account(NOBODY))


def test_an_error_that_zstd_finds_after_the_end_is_said_too(tmp_path, tree):
    """Its checksum comes last, and all of the tar file may be there before."""
    archive = pathlib.Path(pack(tmp_path / "archive", tar([member("a", b"a")]) + bytes(8 * 1024**2)))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(ArchiveError, match=r"zstd finds an error in it"):
        unpack(str(archive), str(tree), account(NOBODY))


def test_the_archive_is_no_link(tmp_path, tree):
    pack(tmp_path / "real", release())
    (tmp_path / "archive").symlink_to("real")
    with pytest.raises(OSError):
        unpack(str(tmp_path / "archive"), str(tree), account(NOBODY))


def test_without_zstd(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(release_archive, "PROGRAM_PATH", "/nowhere")
    with pytest.raises(ArchiveError, match="install the package zstd"):
        unpacked(tmp_path, release())


def test_zstd_that_a_signal_stops_does_not_hold_root(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(release_archive.shutil, "which", lambda *_names, **_more: "/bin/sh")
    real = program_as_user.start_as
    command = ["/bin/sh", "-c", "kill -STOP $$; exec zstd -dc"]
    monkeypatch.setattr(release_archive, "start_as", lambda user, _command, stdin: real(user, command, stdin=stdin))
    with pytest.raises(ArchiveError, match="a signal stopped zstd"):
        unpacked(tmp_path, release())


@pytest.mark.parametrize(
    "keys",
    [
        {"GNU.sparse.map": "x,y", "GNU.sparse.size": "10"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9", "GNU.sparse.name": "b"},
    ],
)
def test_the_map_of_a_sparse_file_that_makes_no_sense_is_said(tmp_path, tree, keys):
    entry, data = member("a", b"x" * 600)
    entry.pax_headers = keys
    with pytest.raises(ArchiveError, match="damaged"):
        unpacked(tmp_path, tar([(entry, data)], tarfile.PAX_FORMAT))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_zstd_runs_as_another_user_than_root(tmp_path, tree, monkeypatch):
    program = tmp_path / "bin" / "zstd"
    program.parent.mkdir()
    pack(tmp_path / "archive", release())
    monkeypatch.setattr(release_archive.shutil, "which", lambda *_names, **_more: "/bin/sh")
    command = ["/bin/sh", "-c", "id -u >&2; env >&2; grep NoNewPrivs /proc/self/status >&2; exec zstd -dc"]
    told = os.open(str(tmp_path / "told"), os.O_CREAT | os.O_RDWR)
    real = program_as_user.start_as
    monkeypatch.setattr(
        release_archive, "start_as", lambda user, _command, stdin: real(user, command, stdin=stdin, stderr=told)
    )
    unpack(str(tmp_path / "archive"), str(tree), account(NOBODY))
    lines = (tmp_path / "told").read_text().split("\n")
    assert lines[0] == str(account(NOBODY).uid) and "NoNewPrivs:\t1" in lines
    assert {line.partition("=")[0] for line in lines[1:] if "=" in line} <= {"PATH", "LC_ALL", "HOME", "PWD", "_"}
