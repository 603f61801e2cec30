# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Places in which root may work."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import places
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")


def test_a_path_without_links(tmp_path):
    root = str(tmp_path)
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (tmp_path / "models").symlink_to("disk/../disk/data")
    (tmp_path / "absolute").symlink_to(tmp_path / "models")
    assert places.safe_parent(root + "/x", root=root) == root
    assert places.safe_parent(root + "/models/x", root=root) == root + "/disk/data"
    assert places.safe_parent(root + "/models/./new/../other/x", root=root) == root + "/disk/data/other"
    assert places.safe_parent(root + "/absolute/x") == root + "/disk/data"
    # The last part is not looked at.
    assert places.safe_parent(root + "/models", root=root) == root


@only_root
@pytest.mark.parametrize("path", ["other", "other/inner", "to_other", "link"])
def test_a_directory_or_link_of_another_user_on_the_way(tmp_path, path):
    root = str(tmp_path)
    (tmp_path / "other" / "inner").mkdir(parents=True)
    os.chown(root + "/other", 4711, 4711)
    (tmp_path / "to_other").symlink_to("other")
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    os.lchown(root + "/link", 4711, 4711)
    sentence = places.problem("%s/%s/x" % (root, path), root=root)
    assert sentence.startswith(root + ("/link is a link that belongs to 4711" if path == "link" else "/other belongs"))
    with pytest.raises(FilesError):
        places.safe_parent("%s/%s/x" % (root, path), root=root)


@pytest.mark.parametrize(
    "mode, strict, words",
    [
        (0o777, False, "written by every user"),
        (0o757, False, "written by every user"),
        (0o1777, False, None),
        (0o1777, True, "written by every user"),
        (0o775, False, None),
        (0o2775, True, "written by its group"),
        (0o755, True, None),
    ],
)
def test_directories_that_others_may_write(tmp_path, mode, strict, words):
    (tmp_path / "way").mkdir()
    os.chmod(str(tmp_path / "way"), mode)
    sentence = places.problem(str(tmp_path / "way" / "x"), strict, str(tmp_path))
    assert (words in sentence and "chmod" in sentence) if words else sentence is None


def test_something_else_on_the_way(tmp_path):
    root = str(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    assert "/file is not a directory" in places.problem(root + "/file/x", root=root)
    assert "is a link to gone, where there is no directory" in places.problem(root + "/dangling/x", root=root)
    assert "where there is no directory" in places.problem(root + "/circle/x", root=root)
