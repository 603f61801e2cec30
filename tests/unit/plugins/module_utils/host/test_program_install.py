# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The program of a host in its place: what counts as installed, and what is refused."""

from __future__ import annotations

import os
import pathlib
import sys
import zipfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.library_directory import tree_digest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import program_install
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.program_install import ProgramRefused, installed

FILES = {"__main__.py": b"print('it runs')\n", "package/__init__.py": b""}
NOTHING = {"digest": None, "interpreter": None}


@pytest.fixture(name="path")
def _path(tmp_path):
    return str(tmp_path / "program" / "bin" / "ollama-multigpu")


@pytest.fixture(name="archive")
def _archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "program.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return str(tmp_path / "program.zip")


def install(archive, path, interpreter=sys.executable):
    owner = pathlib.Path(archive).owner()
    program_install.install(archive, interpreter, lambda place: False, path, owner)


def test_it_runs_and_is_known_by_its_files(archive, path):
    assert installed(path) == NOTHING
    install(archive, path)
    assert installed(path) == {"digest": tree_digest(FILES), "interpreter": sys.executable}
    assert os.popen(path).read() == "it runs\n"
    assert os.listdir(os.path.dirname(path)) == ["ollama-multigpu"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.chmod(path, 0o777),
        lambda path: os.chmod(path, 0o644),
        lambda path: pathlib.Path(path).write_bytes(b"#!/bin/sh\n"),
        lambda path: pathlib.Path(path).write_bytes(pathlib.Path(path).read_bytes()[:-30]),
        lambda path: (os.rename(path, path + "2"), os.symlink(path + "2", path)),
        lambda path: (os.unlink(path), os.mkfifo(path)),
    ],
    ids=["mode", "not executable", "other content", "cut", "link", "fifo"],
)
def test_what_is_not_as_installed_is_not_there(archive, path, spoil):
    install(archive, path)
    spoil(path)
    assert installed(path)["digest"] is None
    if not os.path.exists(path) or os.path.isfile(path):
        install(archive, path)
        assert installed(path)["digest"] == tree_digest(FILES)


def test_an_interpreter_that_is_gone_makes_it_be_installed_again(archive, path, tmp_path):
    (tmp_path / "python").symlink_to(sys.executable)
    install(archive, path, str(tmp_path / "python"))
    (tmp_path / "python").unlink()
    assert installed(path) == {"digest": None, "interpreter": str(tmp_path / "python")}


def test_an_interpreter_that_no_first_line_can_name(archive, path, tmp_path):
    (tmp_path / "with a space").symlink_to(sys.executable)
    install(archive, path, str(tmp_path / "with a space"))
    assert installed(path)["interpreter"] == os.path.realpath(sys.executable)
    with pytest.raises(ProgramRefused, match="too long"):
        install(archive, path, "/" + "x" * 200)


def test_a_place_of_others_is_refused(archive, path, tmp_path):
    os.chmod(tmp_path, 0o777)
    with pytest.raises(FilesError, match="every user"):
        install(archive, path)


def test_an_archive_that_would_fill_the_memory_is_not_read(path):
    os.makedirs(os.path.dirname(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", b"\0" * (program_install._LARGEST + 1))
    assert program_install.archive_digest(path) is None
