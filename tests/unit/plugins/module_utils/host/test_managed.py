# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Files of the collection on a host, from a made-up root directory."""

from __future__ import annotations

import hashlib
import os
import pwd

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
    assert found[paths.PLAN] == dict.fromkeys(file, None) | {"kind": "absent"} and file["problem"] is None


def test_the_directory_of_the_metrics_is_described_with_its_parents(root):
    os.makedirs(paths.below(root, "/srv/a"))
    place = paths.below(root, "/srv/a/ollama_multigpu.prom")
    with open(place, "w", encoding="utf-8") as stream:
        stream.write("old")
    found = managed.managed_files("/models", root, ("/srv/a", "/srv/b/c"))
    assert found["/srv/a/ollama_multigpu.prom"]["kind"] == "file" and found["/srv/a"]["kind"] == "directory"
    assert [found[path]["kind"] for path in ("/srv", "/srv/b", "/srv/b/c")] == ["directory", "absent", "absent"]
    os.chmod(paths.below(root, "/srv/a"), 0o777)
    found = managed.managed_files("/models", root, ("/srv/a",))
    assert "may be written by every user" in found["/srv/a/ollama_multigpu.prom"]["problem"]
    assert "/srv/a" not in managed.managed_files("/models", root)


def test_a_directory_behind_a_link_of_root_is_described(root):
    os.rename(paths.below(root, "/models"), paths.below(root, "/data"))
    os.symlink("data", paths.below(root, "/models"))
    assert managed.managed_files("/models", root)["/models"]["kind"] == "directory"
    found = managed.models_directory("/models", root)
    assert found["path"] == paths.below(root, "/data") and paths.below(root, "/home") in found["homes"]
    os.unlink(paths.below(root, "/models"))
    os.symlink("gone", paths.below(root, "/models"))
    found = managed.managed_files("/models", root)
    assert "is a link to gone, where there is no directory" in found["/models"]["problem"]
    assert found["/models/instances"]["kind"] == "absent" and found["/models/instances"]["problem"]


def test_the_parent_of_the_stores_and_the_stores_are_no_links(root, monkeypatch):
    """-> /home: nothing in it is listed, so nothing is pruned or deleted."""
    monkeypatch.setattr(paths, "USER", pwd.getpwuid(os.geteuid()).pw_name)
    assert managed.stores("/models", root) == ["gpu0"]
    assert managed.models_directory("/models/", root)["stores"] == ["/models/instances/gpu0"]
    os.makedirs(paths.below(root, "/home/alice"))
    os.symlink("../../home", paths.below(root, paths.store("/models", "gpu1")))
    found = managed.managed_files("/models", root)[paths.store("/models", "gpu1")]
    assert (found["kind"], found["target"], found["problem"]) == ("link", "../../home", None)
    assert managed.stores("/models", root) == ["gpu0"]
    os.rename(paths.below(root, "/models/instances"), paths.below(root, "/models/others"))
    os.symlink("../home", paths.below(root, "/models/instances"))
    found = managed.managed_files("/models", root)
    assert found["/models/instances"]["kind"] == "link" and "/models/instances/alice" not in found
    assert managed.stores("/models", root) == []


def test_stores_belong_to_the_service_user_and_their_parents_to_root(root, monkeypatch):
    monkeypatch.setattr(paths, "USER", "nobody")
    assert managed.stores("/models", root) == []
    monkeypatch.setattr(paths, "USER", pwd.getpwuid(os.geteuid()).pw_name)
    for path, mode, words in (
        ("/models", 0o777, "every user"),
        ("/models", 0o1777, "every user"),
        ("/models", 0o775, "its group"),
    ):
        os.chmod(paths.below(root, path), mode)
        found = managed.managed_files("/models", root)
        assert found["/models"]["problem"] is None and managed.stores("/models", root) == []
        assert found["/models/instances"]["kind"] == "absent" and words in found["/models/instances"]["problem"]
        assert "/models/instances/gpu0" not in found
        os.chmod(paths.below(root, path), 0o755)
    assert managed.stores("/models", root) == ["gpu0"]
    # Of a parent of the stores that others may write, nothing is listed: there may be any number of names.
    os.chmod(paths.below(root, "/models/instances"), 0o777)
    assert "/models/instances/gpu0" not in managed.managed_files("/models", root)
    assert managed.stores("/models", root) == []


def test_what_a_models_directory_holds_beside_the_stores(root):
    for name in ["lost+found", ".ansible-killed", *("user%02d" % number for number in range(30))]:
        os.mkdir(paths.below(root, "/models/" + name))
    found = managed.models_directory("/models", root)
    assert found["entries"] == ["user%02d" % number for number in range(20)] and found["free_bytes"] > 0
    assert (found["parent"], found["fetch_store"]) == ("/models/instances", "/models/fetch")
    assert managed.models_directory("/none/models", root)["entries"] == []
    with open(paths.below(root, "/file"), "w", encoding="utf-8"):
        pass
    assert managed.models_directory("/file", root)["entries"] == []
    os.chmod(root, 0o777)
    assert managed.models_directory("/models", root)["entries"] == []


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
