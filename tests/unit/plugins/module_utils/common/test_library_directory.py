# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The directory of copies of the modules' libraries: compared, filled, removed."""

from __future__ import annotations

import os
import zipfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import library_directory


@pytest.fixture
def archive(tmp_path):
    """A zip file with both libraries, as the controller sends it."""
    path = str(tmp_path / "libraries.zip")
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("pynvml.py", "VERSION = 2\n")
        content.writestr("requests/__init__.py", "VERSION = 2\n")
        content.writestr("requests/models.py", "")
        content.writestr("urllib3/__init__.py", "")
    return path


def names_of(directory):
    return sorted(os.listdir(directory))


def test_the_digest_of_a_tree_depends_on_names_and_contents_alone():
    tree = {"a/b.py": b"1", "a.py": b"2"}
    digest = library_directory.tree_digest(tree)
    assert library_directory.tree_digest(dict(reversed(list(tree.items())))) == digest
    for other in ({"a/b.py": b"2", "a.py": b"1"}, {"a/c.py": b"1", "a.py": b"2"}, {"a.py": b"2"}):
        assert library_directory.tree_digest(other) != digest


def test_a_directory_has_the_digest_of_its_tree(archive, tmp_path):
    path = str(tmp_path / "python")
    assert library_directory.digest(path, "nvidia-ml-py") is None
    library_directory.unpack(archive, path, ["nvidia-ml-py", "requests"])
    assert library_directory.digest(path, "nvidia-ml-py") == library_directory.tree_digest(
        {"pynvml.py": b"VERSION = 2\n"}
    )
    before = library_directory.digest(path, "requests")
    (tmp_path / "python" / "requests" / "__pycache__").mkdir()
    (tmp_path / "python" / "requests" / "__pycache__" / "models.pyc").write_bytes(b"1")
    assert library_directory.digest(path, "requests") == before
    (tmp_path / "python" / "requests" / "models.py").write_text("changed")
    assert library_directory.digest(path, "requests") != before


def test_only_the_libraries_that_are_asked_for_are_replaced(archive, tmp_path):
    place = tmp_path / "ours" / "python"
    place.mkdir(parents=True)
    (place / "requests").mkdir()
    (place / "requests" / "old.py").write_text("")
    (place / "pynvml.py").write_text("VERSION = 1\n")
    library_directory.unpack(archive, str(place), ["requests"])
    assert names_of(place) == ["pynvml.py", "requests", "urllib3"]
    assert names_of(place / "requests") == ["__init__.py", "models.py"]
    assert (place / "pynvml.py").read_text() == "VERSION = 1\n"
    assert names_of(place.parent) == ["python"], "nothing is left beside it"


def test_every_user_can_read_what_was_unpacked(archive, tmp_path):
    place = tmp_path / "python"
    umask = os.umask(0o077)
    try:
        library_directory.unpack(archive, str(place), ["requests"])
    finally:
        os.umask(umask)
    modes = [os.stat(path).st_mode & 0o777 for path in (place, place / "requests", place / "requests" / "models.py")]
    assert modes == [0o755, 0o755, 0o644]


def test_what_a_killed_run_left_is_cleared_away(archive, tmp_path):
    (tmp_path / ".libraries-killed").mkdir()
    library_directory.unpack(archive, str(tmp_path / "python"), ["nvidia-ml-py"])
    assert names_of(tmp_path) == ["libraries.zip", "python"]


def test_the_directory_is_removed_with_all_it_holds(archive, tmp_path):
    path = str(tmp_path / "python")
    library_directory.unpack(archive, path, ["requests"])
    assert library_directory.exists(path)
    library_directory.remove(path)
    assert not library_directory.exists(path)
