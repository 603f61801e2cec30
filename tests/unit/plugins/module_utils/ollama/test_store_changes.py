# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What root has done in a store is done as its user, whatever that user has put there."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import as_user
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import store_changes
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Brought, Store, StoreError

from tests.unit.plugins.module_utils.ollama.giving import everything, give, owners
from tests.unit.plugins.module_utils.ollama.test_store import TINY, blobs, put


@pytest.fixture
def theirs(place, nobody):
    """Two stores of another user, the first with a model of 9 and 6 bytes; their parent belongs to this process."""
    found = Store(str(place / "gpu0"), nobody.name), Store(str(place / "gpu1"), nobody.name)
    put(found[0], TINY, b"params")
    os.mkdir(found[1].path, 0o755)
    for one in found:
        give(one.path, nobody)
    return found


@pytest.fixture
def outside(place):
    """A directory of root's that a link could lead to."""
    path = place / "etc"
    (path / "blobs").mkdir(parents=True)
    yield path
    assert sorted(everything(path)) == [str(path), str(path / "blobs")], "nothing was written there"
    assert owners(path) == {0}, "and nothing was given away"


def test_what_is_brought_belongs_to_the_user_of_the_store(theirs, nobody):
    first, second = theirs
    assert second.way_from(first, TINY) == second.take_from(first, TINY) == Brought(linked_bytes=15)
    assert owners(second.path) == {nobody.uid} and second.complete(TINY) is not None
    second.remove(TINY)
    assert blobs(second) == [] and owners(second.path) == {nobody.uid} and first.complete(TINY) is not None


def test_files_get_the_modes_that_ollama_gives_its_own(theirs):
    """Those of manifests and pulled blobs are 0644 less the umask of the unit (Ollama manifest/manifest.go,
    server/download.go)."""
    first, second = theirs
    os.chown(first.blob_path(first.manifest(TINY).blobs()[0].digest), 0, 0)  # so that one is copied
    second.take_from(first, TINY)
    layers = first.manifest(TINY).blobs()
    files = [second.manifest_path(TINY), second.blob_path(layers[0].digest)]
    assert {stat.S_IMODE(os.lstat(path).st_mode) for path in files} == {0o640}
    made = [path for path in everything(second.path)[1:] if os.path.isdir(path)]
    assert len(made) == 5 and {stat.S_IMODE(os.lstat(path).st_mode) for path in made} == {0o750}


def test_a_blob_of_root_is_copied_and_belongs_to_the_user(theirs, nobody):
    """Ollama's create sets the times of every blob that it keeps, which only the owner may."""
    first, second = theirs
    path = first.blob_path(first.manifest(TINY).blobs()[0].digest)
    os.chown(path, 0, 0)
    assert second.way_from(first, TINY) == second.take_from(first, TINY) == Brought(6, 9)
    assert owners(second.path) == {nobody.uid} and os.lstat(path).st_uid == 0


def test_the_source_may_lie_where_the_user_cannot_go(theirs, nobody, place):
    closed = place / "root"
    closed.mkdir(mode=0o700)
    source = Store(str(closed / "models"))
    digest = put(source, TINY, b"other")
    assert theirs[1].take_from(source, TINY).action == "copy"
    assert theirs[1].complete(TINY).digest == digest and owners(theirs[1].path) == {nobody.uid}


@pytest.mark.parametrize("closed", ["blobs", "manifests", "blob"])
def test_a_source_that_the_user_may_not_read_is_said(theirs, place, closed):
    source = Store(str(place / "models"))
    put(source, TINY, b"other")
    blob = source.blob_path(source.manifest(TINY).blobs()[0].digest)
    os.chmod(blob if closed == "blob" else os.path.join(source.path, closed), 0o600)
    for bring in (theirs[1].way_from, theirs[1].take_from):
        with pytest.raises(StoreError, match="may not be read by nobody: allow it with chmod -R o\\+rX"):
            bring(source, TINY)
    assert theirs[1].names() == []


@pytest.mark.parametrize("where", ["", "manifests", "manifests/registry.ollama.ai", "blobs"])
def test_nothing_is_written_through_a_link_of_the_store(theirs, outside, where):
    first, second = theirs
    path = os.path.join(second.path, where).rstrip("/")
    if not where:
        os.rmdir(second.path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(str(outside), path)
    for _again in range(2):
        with pytest.raises(StoreError, match="%s (is a symbolic link|belongs to root)" % path):
            second.take_from(first, TINY)


def test_nothing_is_written_where_the_store_has_a_link_of_its_user(theirs, outside, nobody):
    """The user's own link, in directories of its own: the link itself is refused."""
    first, second = theirs
    second.take_from(first, TINY)
    path = os.path.dirname(second.manifest_path(TINY))
    os.rename(path, path + ".moved")
    os.symlink(str(outside), path)
    os.chown(path, nobody.uid, nobody.gid, follow_symlinks=False)
    for change in (lambda: second.take_from(first, TINY), lambda: second.remove(TINY)):
        with pytest.raises(StoreError, match="%s is a symbolic link, and links in a store are not followed" % path):
            change()


def test_a_store_that_is_swapped_before_it_is_written_to(theirs, outside, monkeypatch):
    """The link is put there after everything was looked at: at the last moment at which root acts."""
    first, second = theirs
    give_up = as_user.give_up_privileges

    def swapped(user):
        os.rename(second.path, second.path + ".moved")
        os.symlink(str(outside), second.path)
        give_up(user)

    monkeypatch.setattr(as_user, "give_up_privileges", swapped)
    with pytest.raises(StoreError, match="gpu1 is a symbolic link"):
        second.take_from(first, TINY)


def test_a_directory_that_is_swapped_as_soon_as_it_is_made(theirs, outside, monkeypatch):
    """Between mkdir and the change of its owner, root gave away what a link led to."""
    first, second = theirs
    made = os.mkdir

    def swapped(name, mode=0o777, dir_fd=None):
        made(name, mode, dir_fd=dir_fd)
        os.rename(name, "moved", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.symlink(str(outside), name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(StoreError, match="blobs is a symbolic link"):
        second.take_from(first, TINY)


def test_what_is_removed_is_removed_as_the_user(theirs, place):
    """Directories of root's in the store cannot be emptied by whoever works there."""
    first = theirs[0]
    os.chown(os.path.join(first.path, "blobs"), 0, 0)
    with pytest.raises(StoreError, match="cannot remove tiny:latest from the store .*: Permission denied"):
        first.remove(TINY)
    assert len(blobs(first)) == 2


def test_what_another_user_owns_in_a_store_is_refused(theirs, nobody):
    first, second = theirs
    second.take_from(first, TINY)
    for path in everything(second.path):
        os.chown(path, 0, 0)
        with pytest.raises(StoreError, match="%s belongs to root and (not to|may not be read by) nobody: " % path):
            second.take_from(first, TINY)
        os.chown(path, nobody.uid, nobody.gid)
    second.take_from(first, TINY)


@pytest.mark.parametrize("where", ["blob", "manifest"])
def test_a_special_file_in_a_store_is_refused(theirs, nobody, where):
    first, second = theirs
    second.take_from(first, TINY)
    path = second.manifest_path(TINY) if where == "manifest" else second.blob_path(first.manifest(TINY).digest)
    path = second.blob_path(first.manifest(TINY).blobs()[0].digest) if where == "blob" else path
    os.unlink(path)
    os.mkfifo(path)
    os.chown(path, nobody.uid, nobody.gid)
    with pytest.raises(StoreError, match="%s is a FIFO, and a store has only directories and files: remove it" % path):
        second.take_from(first, TINY)


def test_a_device_in_a_store_is_refused(theirs, nobody):
    first, second = theirs
    second.take_from(first, TINY)
    path = second.blob_path(first.manifest(TINY).blobs()[0].digest)
    os.unlink(path)
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no devices can be made here")
    os.chown(path, nobody.uid, nobody.gid)
    with pytest.raises(StoreError, match="%s is a device" % path):
        second.take_from(first, TINY)


def test_a_hard_link_to_a_file_of_root_is_never_written_to(theirs, place):
    first, second = theirs
    precious = place / "precious"
    precious.write_text("root's")
    os.mkdir(os.path.join(second.path, "blobs"))
    os.link(str(precious), second.blob_path(first.manifest(TINY).blobs()[0].digest))
    give(os.path.dirname(second.blob_path("x")), as_user.account("nobody"))
    os.chown(str(precious), 0, 0)
    with pytest.raises(StoreError, match="belongs to root and not to nobody"):
        second.take_from(first, TINY)
    assert precious.read_text() == "root's" and precious.stat().st_uid == 0


def test_a_hard_link_to_a_file_of_root_is_not_linked_from(theirs, place):
    """Such a blob in a store that models are taken from: its bytes are checked, and the copy is the user's."""
    first, second = theirs
    blob = first.blob_path(first.manifest(TINY).blobs()[0].digest)
    precious = place / "precious"
    precious.write_bytes(b"not model")
    os.unlink(blob)
    os.link(str(precious), blob)
    with pytest.raises(StoreError, match="its content does not have the SHA-256 in its name"):
        second.take_from(first, TINY)
    assert second.names() == [] and blobs(second) == []


def test_without_the_user_nothing_is_changed(theirs):
    first, second = theirs
    second.user = "no-such-user"
    assert second.way_from(first, TINY).action == "link", "nobody looks in its place"
    with pytest.raises(StoreError, match="does not have the user no-such-user"):
        second.take_from(first, TINY)
    assert os.listdir(second.path) == []


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """Two stores between which nothing can be linked."""

    def refuse(*unused, **unused2):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    found = Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))
    put(found[0], TINY, b"params")
    return found


def test_an_interrupted_copy_leaves_no_blob_and_the_next_run_takes_it_away(apart, monkeypatch):
    first, second = apart

    def killed(*unused):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        second.take_from(first, TINY)
    (name,) = blobs(second)
    assert name.endswith("-copying") and second.names() == []
    monkeypatch.undo()
    second.take_from(first, TINY)
    assert second.complete(TINY) is not None and blobs(second) == blobs(first)


@pytest.mark.parametrize("content", [b"the m0del", b"the", b"the model and more"])
def test_a_damaged_source_leaves_no_blob(apart, content, monkeypatch):
    first, second = apart
    layer = first.manifest(TINY).blobs()[0]
    monkeypatch.setattr(store_changes, "_manifest", lambda store, name, pulled: store.manifest(name))
    with open(first.blob_path(layer.digest), "wb") as stream:
        stream.write(content)
    with pytest.raises(StoreError, match="its content does not have the SHA-256 in its name; pull the model again"):
        second.take_from(first, TINY)
    assert blobs(second) == [] and second.names() == []


def test_a_copy_that_does_not_fit_is_not_begun(apart, monkeypatch):
    first, second = apart
    there = os.fstatvfs

    class Full:
        f_bavail, f_frsize = 1, 8

    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: there(descriptor) and Full)
    with pytest.raises(StoreError, match="needs 9 bytes in .*gpu1, where 8 are free; free 1 more"):
        second.take_from(first, TINY)
    assert blobs(second) == []


@pytest.mark.parametrize("gone", ["blobs", "manifests"])
def test_a_directory_that_goes_meanwhile_is_said(tmp_path, monkeypatch, gone):
    """Nothing is done in the working directory instead."""
    first, second = Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))
    put(first, TINY)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = os.mkdir

    def removed(name, mode=0o777, dir_fd=None):
        made(name, mode, dir_fd=dir_fd)
        if name == gone:
            os.rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", removed)
    with pytest.raises(StoreError, match="gpu1/%s was removed during this run; run again" % gone):
        second.take_from(first, TINY)
    assert os.listdir(".") == []


@pytest.mark.parametrize("other", ["link", "another size", "another owner"])
def test_a_source_that_is_exchanged_while_it_is_linked_is_not_believed(tmp_path, monkeypatch, other):
    first, second = Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))
    put(first, TINY)
    blob = first.blob_path(first.manifest(TINY).blobs()[0].digest)
    link = os.link

    def exchanged(name, new, **options):
        os.unlink(blob)
        if other == "link":
            os.symlink("/etc/passwd", blob)
        else:
            with open(blob, "wb") as stream:
                stream.write(b"short" if other == "another size" else b"the model")
        if other == "another owner":
            os.chown(blob, 4321, 4321)
        link(name, new, **options)

    if other == "another owner":
        if os.geteuid() != 0:
            pytest.skip("only root can give files away")
        monkeypatch.setattr(os, "link", exchanged)
        assert second.take_from(first, TINY).action == "copy"
        assert owners(second.path) == {os.geteuid()}
        return
    monkeypatch.setattr(os, "link", exchanged)
    with pytest.raises(StoreError, match="is a symbolic link|SHA-256"):
        second.take_from(first, TINY)
    assert blobs(second) == []


def test_a_model_gets_another_name_in_the_letters_that_are_there(tmp_path):
    first, second = Store(str(tmp_path / "gpu0")), Store(str(tmp_path / "gpu1"))
    put(first, TINY)
    put(second, parse("Other:V1"))
    second.take_from(first, TINY, parse("other:v2"))
    assert [str(name) for name in second.names()] == ["Other:V1", "Other:v2"]
