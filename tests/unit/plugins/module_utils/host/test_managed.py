# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files of the collection on a host, from a made-up root directory."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import managed


@pytest.fixture(name="root")
def _root(tmp_path):
    """A root directory with an environment file, a store and a link to a release."""
    for path in (paths.ENVIRONMENT_DIRECTORY, paths.store("/models", "gpu0"), paths.INSTALLATION):
        os.makedirs(paths.below(str(tmp_path), path))
    place = paths.below(str(tmp_path), paths.environment_file("gpu0"))
    with open(place, "w", encoding="utf-8") as stream:
        stream.write("A=1\n")
    os.chmod(place, 0o640)
    os.symlink("releases/0.32.15", paths.below(str(tmp_path), paths.CURRENT))
    return str(tmp_path)


def test_files_are_described(root):
    found = managed.managed_files("/models", root)
    file = found[paths.environment_file("gpu0")]
    assert (file["kind"], file["mode"], file["target"]) == ("file", "0640", None)
    assert file["digest"] == hashlib.sha256(b"A=1\n").hexdigest()
    assert found[paths.CURRENT]["kind"] == "link" and found[paths.CURRENT]["target"] == "releases/0.32.15"
    assert found[paths.store("/models", "gpu0")]["kind"] == "directory" and found["/models"]["kind"] == "directory"
    assert found[paths.PLAN] == dict.fromkeys(file, None) | {"kind": "absent"}


def test_a_directory_behind_a_link_of_root_is_described(root, monkeypatch):
    os.rename(paths.below(root, "/models"), paths.below(root, "/data"))
    os.symlink(paths.below(root, "/data"), paths.below(root, "/models"))
    real = os.lstat

    def owned_by(user):
        def lstat(path):
            status = list(real(path))
            status[stat.ST_UID] = user
            return os.stat_result(status)

        monkeypatch.setattr(managed.os, "lstat", lstat)

    owned_by(0)
    assert managed.managed_files("/models", root)["/models"]["kind"] == "directory"
    owned_by(1)
    assert managed.managed_files("/models", root)["/models"]["kind"] == "link"


def test_special_files_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert managed.describe(str(tmp_path / "fifo"))["kind"] == "other"
    assert managed.describe(str(tmp_path / "none" / "x"))["kind"] == "absent"


def test_an_account():
    root = managed.account("root")
    assert root["group"] == "root" and root["home"] and root["shell"]
    assert managed.account("no-such-user") is None


def test_libraries_of_the_hosts_python_and_copies(root, monkeypatch):
    def missing(directories):
        assert directories == []
        raise managed.LibraryMissing("requests")

    monkeypatch.setattr(managed, "import_requests", missing)
    os.makedirs(paths.below(root, paths.LIBRARIES + "/requests"))
    with open(paths.below(root, paths.LIBRARIES + "/requests/__init__.py"), "w", encoding="utf-8") as stream:
        stream.write("A = 1")
    found = managed.libraries(root)
    assert found["nvidia-ml-py"] == {"own": True, "digest": None}
    assert found["requests"]["own"] is False and len(found["requests"]["digest"]) == 64
