# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Put the program of the host in its place: one file, which Python runs as it is.

It is a zip file behind a line that names the interpreter (zipapp of the standard library makes the same).
"""

from __future__ import annotations

import os
import posixpath
import re
import zipfile
from typing import Any, Callable, Optional

from ..common import paths
from ..common.library_directory import tree_digest
from ..common.regular import open_regular
from . import managed
from .files import Files, WantedFile
from .ownership import Ownership

#: Larger files than this are no program of the collection.
_LARGEST = 32 * 1024 * 1024
_MODE, _DIRECTORY_MODE = 0o755, 0o755
#: -I: neither variables nor packages of a user change what root runs.
_FIRST_LINE = b"#!%s -I\n"
#: The kernel reads no more of the first line (BINPRM_BUF_SIZE, which was 128 before Linux 5.1).
_LONGEST_LINE = 127
_NO_INTERPRETER = re.compile(r"[\s\x00-\x1f]")


class ProgramRefused(Exception):
    """The program cannot be put in its place. The text is one sentence with a remedy."""


def installed(path: str = paths.PROGRAM) -> dict[str, Any]:
    """Return {digest, interpreter} of the program on this host.

    `digest` is the SHA-256 over the names and contents of its files; None where there is no program, or where it is not
    as it was installed: another owner or mode, or an interpreter that is gone. `interpreter` is the one that runs it.

    Args:
        path: of the program.
    """
    found = managed.describe(path)
    interpreter = _interpreter(path) if found["kind"] == "file" else None
    mine = managed.user_name(os.geteuid())
    as_installed = found["owner"] in ("root", mine) and found["mode"] == "%04o" % _MODE
    if interpreter is None or not as_installed or not os.access(interpreter, os.X_OK):
        return {"digest": None, "interpreter": interpreter}
    return {"digest": archive_digest(path), "interpreter": interpreter}


def archive_digest(path: str) -> Optional[str]:
    """Return the digest of the files in an archive, whatever stands before it; None where it is none."""
    try:
        with open_regular(path, follow=False) as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST:
                return None
            with zipfile.ZipFile(stream) as archive:
                entries = archive.infolist()
                if sum(entry.file_size for entry in entries) > _LARGEST:
                    return None
                return tree_digest({entry.filename: archive.read(entry) for entry in entries})
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError):
        return None


def install(
    archive: str, interpreter: str, set_context: Callable[[str], bool], path: str = paths.PROGRAM, owner: str = "root"
) -> None:
    """Put an archive in its place as a program.

    Args:
        archive: of the program's files.
        interpreter: that runs it from now on.
        set_context: gives a path its default SELinux context.
        path: of the program.
        owner: whom it belongs to.

    Raises:
        ProgramRefused: no first line can name the interpreter.
        FilesError: the place is not safe, or the system refuses.
        OSError: the archive cannot be read.
    """
    line = _FIRST_LINE % _usable(interpreter).encode()
    with open_regular(archive) as stream:
        content = line + stream.read()
    files = Files(False, backup=str, set_context=set_context)
    for directory in (posixpath.dirname(posixpath.dirname(path)), posixpath.dirname(path)):
        files.put(WantedFile(directory, "directory", ownership=Ownership(owner, owner, _DIRECTORY_MODE)))
    ownership = Ownership(owner, owner, _MODE)
    files.put(WantedFile(path, content=content, ownership=ownership, show_content=False))


def _usable(interpreter: str) -> str:
    for candidate in (interpreter, os.path.realpath(interpreter)):
        short = len(_FIRST_LINE) + len(os.fsencode(candidate)) <= _LONGEST_LINE
        if os.path.isabs(candidate) and short and not _NO_INTERPRETER.search(candidate):
            return candidate
    raise ProgramRefused(
        "The path of the Python interpreter %r is too long, or has a space in it, for the first line of a program: set "
        "ansible_python_interpreter to another path." % interpreter
    )


def _interpreter(path: str) -> Optional[str]:
    try:
        with open_regular(path, follow=False) as stream:
            line = stream.read(_LONGEST_LINE + 1).split(b"\n")[0]
    except OSError:
        return None
    words = line[2:].split()
    return os.fsdecode(words[0]) if line.startswith(b"#!") and words else None
