# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The host's program as the controller has it: the files of module_utils that it imports, as an archive to run."""

from __future__ import annotations

import os
import pathlib
import re
import zipfile

from ansible_collections.gpufleet.ollama.plugins import module_utils
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.library_directory import tree_digest

#: The package in the archive; imports between the rooms are relative, so that its name is free.
PACKAGE = "ollama_multigpu"
#: The file that everything is imported from, below module_utils.
START = "program/main.py"
_MAIN = (
    """\
import sys

from %s.program.main import main

sys.exit(main())
"""
    % PACKAGE
)
_IMPORT = re.compile(r"^[ \t]*from (\.+)([\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_NAME = re.compile(r"\w+")


class ProgramCopy:
    """The program as this controller has it.

    Attributes:
        files: Its files by their paths in the archive.
        digest: SHA-256 over their names and contents.

    Args:
        rooms: Directory of module_utils; None = that of the collection that runs.
    """

    def __init__(self, rooms: pathlib.Path | None = None) -> None:
        self._rooms = rooms or pathlib.Path(next(iter(module_utils.__path__)))
        self.files = {"__main__.py": _MAIN.encode()}
        self._add(pathlib.PurePosixPath(START))

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files, in the order of their names."""
        return tree_digest(self.files)

    def write(self, path: str) -> None:
        """Write the archive to `path`, which is replaced by a rename."""
        draft = "%s.%d" % (path, os.getpid())
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(self.files.items()):
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        os.replace(draft, path)

    def _add(self, name: pathlib.PurePosixPath) -> None:
        """Add a file with what it imports and the packages that it is in."""
        place = "%s/%s" % (PACKAGE, name)
        if place in self.files:
            return
        content = (self._rooms / name).read_bytes()
        self.files[place] = content
        for package in [name.parent, *name.parent.parents]:
            self.files.setdefault(str(PACKAGE / package / "__init__.py"), b"")
        for imported in self._imports(name, content.decode("utf-8")):
            self._add(imported)

    def _imports(self, name: pathlib.PurePosixPath, text: str) -> list[pathlib.PurePosixPath]:
        """Return the files that a file imports. An imported name may be a file or something in one."""
        found = []
        for dots, module, names in _IMPORT.findall(text):
            above = len(dots) - 1
            base = name.parent if not above else name.parent.parents[above - 1]
            base = base.joinpath(*module.split(".")) if module else base
            for candidate in [base, *(base / part for part in _NAME.findall(names))]:
                file = candidate.with_suffix(".py")
                if (self._rooms / file).is_file():
                    found.append(file)
        return found
