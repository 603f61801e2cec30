# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Directories that are removed with what is in them, by the user that they belong to."""

from __future__ import annotations

import os
import pwd
import subprocess

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import trees
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import Files, WantedFile
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")


@pytest.fixture(name="service")
def _service(monkeypatch):
    """The numbers of a user that stands for the service user, which this machine does not have."""
    monkeypatch.setattr(paths, "USER", "nobody")
    return pwd.getpwnam("nobody").pw_uid


@pytest.fixture(name="store")
def _store(tmp_path, service):
    """A store of the service user with a blob and its links, a FIFO and a directory outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("x")
    store = tmp_path / "store"
    (store / "blobs").mkdir(parents=True)
    (store / "blobs" / "sha256-a").write_text("x")
    (store / "blobs" / "link").symlink_to(tmp_path / "outside" / "file")
    (store / "manifests").symlink_to(tmp_path / "outside")
    os.mkfifo(str(store / "fifo"))
    give(store, service)
    return store


def give(directory, user):
    for parent, directories, names in os.walk(str(directory)):
        for path in [parent] + [os.path.join(parent, name) for name in directories + names]:
            os.lchown(path, user, user)


def test_a_store_is_removed_and_nothing_behind_its_links(store, tmp_path):
    trees.remove_tree(str(store))
    assert sorted(os.listdir(str(tmp_path))) == ["outside"] and (tmp_path / "outside" / "file").read_text() == "x"


def test_stores_in_a_directory_of_root(store, tmp_path):
    (tmp_path / "instances").mkdir()
    os.rename(str(store), str(tmp_path / "instances" / "gpu0"))
    (tmp_path / "instances" / "gpu1").symlink_to(tmp_path / "outside")
    trees.remove_tree(str(tmp_path / "instances"))
    assert os.listdir(str(tmp_path)) == ["outside"] and (tmp_path / "outside" / "file").exists()


def test_what_the_service_user_cannot_remove_is_named(store, tmp_path):
    """Root does not do it for the user: who knows how it came there."""
    (store / "blobs" / "lost+found").mkdir()
    (store / "blobs" / "lost+found" / "file").write_text("x")
    with pytest.raises(FilesError, match="/store/blobs/lost.found.* cannot be removed as the user nobody"):
        trees.remove_tree(str(store))
    assert (store / "blobs" / "lost+found" / "file").exists()


@pytest.mark.parametrize("place", ["", "gpu0"])
def test_a_directory_of_another_user_is_not_removed(tmp_path, service, place):
    other = tmp_path / "instances" / place
    other.mkdir(parents=True)
    (other / "file").write_text("x")
    give(other, 4711)
    with pytest.raises(FilesError, match="instances.* belongs to 4711, so it is not removed: remove it yourself"):
        trees.remove_tree(str(tmp_path / "instances"))
    assert (other / "file").exists()


def test_the_contents_are_removed_by_the_service_user(store, monkeypatch):
    called = []
    call_as = trees.as_user.call_as
    monkeypatch.setattr(
        trees.as_user, "call_as", lambda user, *rest, **more: (called.append(user.name), call_as(user, *rest, **more))
    )
    unlink = os.unlink
    monkeypatch.setattr(
        os, "unlink", lambda *arguments, **more: unlink(*arguments, **more) if os.geteuid() else pytest.fail("as root")
    )
    trees.remove_tree(str(store))
    assert called == ["nobody"] and not store.exists()


def test_a_deep_tree_is_an_error_and_no_crash(store, service):
    at = os.open(str(store), os.O_RDONLY)
    for _level in range(1500):
        os.mkdir("d", dir_fd=at)
        os.chown("d", service, service, dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    try:
        with pytest.raises(FilesError):
            trees.remove_tree(str(store))
    finally:
        subprocess.run(["rm", "-rf", str(store)], check=True)


def test_what_lies_in_a_store_is_removed_as_its_user(store, tmp_path):
    """Of a store only a part goes: what no model uses any more, or what the fetch server held."""
    for entry in ("blobs/sha256-a", "blobs", "manifests", "fifo"):
        path = str(store / entry)
        assert trees.in_directory_of_services(path) == str(store)
        assert trees.remove_as_service(str(store), path) and not os.path.lexists(path)
        assert not trees.remove_as_service(str(store), path)
    assert (tmp_path / "outside" / "file").exists() and store.is_dir()
    assert trees.in_directory_of_services(str(store)) is None
    assert trees.in_directory_of_services(str(tmp_path / "none" / "x")) is None


def test_nothing_is_removed_behind_a_link_in_a_store(store, tmp_path):
    with pytest.raises(FilesError, match="as the user nobody"):
        trees.remove_as_service(str(store), str(store / "manifests" / "file"))
    assert (tmp_path / "outside" / "file").exists()


def test_module_instance_files_does_so(store):
    files = Files(False, str, lambda path: False)
    checking = Files(True, str, lambda path: False)
    wanted = WantedFile(str(store / "blobs" / "sha256-a"), "absent")
    assert checking.put(wanted).action == "remove" and (store / "blobs" / "sha256-a").exists()
    assert files.put(wanted).action == "remove" and not (store / "blobs" / "sha256-a").exists()
    assert files.put(wanted).action == "none"
