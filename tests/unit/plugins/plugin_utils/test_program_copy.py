# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The program that a host gets: all that it imports, nothing that only the controller has, and it runs."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import yaml
from ansible_collections.gpufleet.ollama.plugins import module_utils
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import program_install
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.version import VERSION
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.program_copy import PACKAGE, ProgramCopy

ROOMS = pathlib.Path(next(iter(module_utils.__path__)))
#: Imports every file of an archive, in a process that has no package beside the standard library.
IMPORT_ALL = """\
import importlib, sys, zipfile
sys.path.insert(0, sys.argv[1])
for name in zipfile.ZipFile(sys.argv[1]).namelist():
    if name.startswith(sys.argv[2]):
        importlib.import_module(name[:-3].replace("/", ".").replace(".__init__", ""))
print(sorted(name for name in sys.modules if name.split(".")[0] in ("ansible", "ansible_collections", "yaml")))
"""


def test_it_has_all_that_it_imports_and_needs_no_ansible(tmp_path):
    copy = ProgramCopy()
    copy.write(str(tmp_path / "program.zip"))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(tmp_path / "program.zip"), PACKAGE],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stdout


def test_it_leaves_out_what_it_does_not_use():
    files = ProgramCopy().files
    assert PACKAGE + "/evidence/collect.py" in files
    # A diagnosis asks the rules of releases, and these what a graph takes; nothing on a host makes a plan or changes.
    assert not [name for name in files if "/placement/" in name or name.endswith("/changes/compare.py")]
    assert len(files) < len(list(ROOMS.rglob("*.py"))) * 2 / 3


def test_the_digest_is_that_of_the_installed_program_however_it_is_packed(tmp_path):
    copy, path = ProgramCopy(), str(tmp_path / "program" / "bin" / "ollama-multigpu")
    copy.write(str(tmp_path / "program.zip"))
    owner = pathlib.Path(tmp_path).owner()
    program_install.install(str(tmp_path / "program.zip"), sys.executable, lambda place: False, path, owner)
    assert program_install.installed(path) == {"digest": copy.digest, "interpreter": sys.executable}
    said = subprocess.run([path, "version", "--json"], stdout=subprocess.PIPE, check=True, cwd="/").stdout
    assert json.loads(said)["version"] == VERSION


def test_another_file_has_another_digest(tmp_path):
    rooms = tmp_path / "module_utils"
    (rooms / "program").mkdir(parents=True)
    main, used = rooms / "program" / "main.py", rooms / "used.py"
    main.write_text("from ..used import (\n    one,\n)\nfrom . import unused_name\n", encoding="utf-8")
    used.write_text("one = 1\n", encoding="utf-8")
    before = ProgramCopy(rooms)
    assert set(before.files) == {
        "__main__.py",
        PACKAGE + "/__init__.py",
        PACKAGE + "/used.py",
        PACKAGE + "/program/__init__.py",
        PACKAGE + "/program/main.py",
    }
    used.write_text("one = 2\n", encoding="utf-8")
    assert ProgramCopy(rooms).digest != before.digest


def test_the_version_is_that_of_the_collection():
    galaxy = pathlib.Path(__file__).parents[4] / "galaxy.yml"
    assert yaml.safe_load(galaxy.read_text(encoding="utf-8"))["version"] == VERSION
