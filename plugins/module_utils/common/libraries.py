# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Find the two libraries that the modules need: requests and nvidia-ml-py (imported as pynvml).

A host needs nothing but Python. The interpreter's own library is used where it has one; otherwise the copy that the
action plugin sent along for this run, otherwise the copy that the install stage put down for good. A module that finds
none of them says so (LibraryMissing), and the action plugin runs it again with the controller's copy.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from types import ModuleType
from typing import Callable, Dict, List, Optional, Sequence

from . import paths

#: Where `gpufleet.ollama.libraries` puts the copies that stay on a host.
PERMANENT_DIRECTORY = paths.LIBRARIES
#: Environment variable that names the copy sent along for one run: a directory or a zip file.
LIBRARIES_VARIABLE = "GPUFLEET_LIBRARIES"

REQUESTS = "requests"
NVML = "nvidia-ml-py"

#: What each library consists of: the names that it puts into a directory on Python's path.
TOP_LEVEL = {
    REQUESTS: ("requests", "urllib3", "idna", "certifi", "charset_normalizer", "chardet", "six.py"),
    NVML: ("pynvml.py",),
}

#: The package of the distribution, named where nothing can be sent along.
DISTRIBUTION_PACKAGE = {REQUESTS: "python3-requests", NVML: "python3-pynvml"}

# Looking in one directory after the other changes sys.path and sys.modules, which all threads share.
_LOCK = threading.RLock()


class LibraryMissing(Exception):
    """A library can be imported neither from the interpreter nor from one of our copies.

    Attributes:
        name: the library as PyPI names it (`requests`, `nvidia-ml-py`).
        detail: why (an import error, a stale package), or "".
    """

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.detail = detail

    def __str__(self) -> str:
        return failure_message(self.name, self.detail)

    def as_failure(self) -> Dict[str, str]:
        """Return the arguments of `fail_json`; the action plugin reads `missing_library` and `python_version`."""
        return {
            "msg": str(self),
            "missing_library": self.name,
            "missing_reason": self.detail,
            "python_version": platform.python_version(),
        }


def failure_message(name: str, detail: str = "") -> str:
    """Return one sentence: library `name` is missing for this interpreter, and what to do."""
    return "The Python library %s is missing for %s%s: install the package %s, or %s into that interpreter." % (
        name,
        sys.executable or "this Python",
        " (%s)" % detail if detail else "",
        DISTRIBUTION_PACKAGE[name],
        name,
    )


def extra_directories() -> List[str]:
    """Return the places of our own copies, best first: the one sent along for this run, then the permanent one."""
    sent = os.environ.get(LIBRARIES_VARIABLE, "")
    return [path for path in (sent, PERMANENT_DIRECTORY) if path and os.path.exists(path)]


def import_requests(directories: Optional[Sequence[str]] = None) -> ModuleType:
    """Return the module `requests`.

    Args:
        directories: where to look after the interpreter's own path; None = `extra_directories()`.

    Raises:
        LibraryMissing: it is nowhere.
    """

    def load() -> ModuleType:
        import requests
        import requests.exceptions

        return requests

    return _first_that_loads(REQUESTS, load, directories)


def import_pynvml(directories: Optional[Sequence[str]] = None) -> ModuleType:
    """Return the module `pynvml` of the distribution nvidia-ml-py.

    The PyPI distribution `pynvml` up to 11.5.3 is another one: a package directory of the same name that shadows it and
    lacks newer calls (memory v2, process v3). It is passed over, and named when nothing better is found.

    Args:
        directories: as in `import_requests`.

    Raises:
        LibraryMissing: it is nowhere.
    """

    def load() -> ModuleType:
        import pynvml

        complaint = stale_binding(pynvml)
        if complaint:
            raise ImportError(complaint)
        return pynvml

    return _first_that_loads(NVML, load, directories)


def stale_binding(pynvml: ModuleType) -> str:
    """Return why this `pynvml` is not the maintained nvidia-ml-py, or "" when it is.

    nvidia-ml-py from 11.525 on has both names; the fork in PyPI `pynvml` and nvidia-ml-py 7.352 do not (the test that
    gpustat makes).
    """
    if hasattr(pynvml, "_nvmlGetFunctionPointer") and hasattr(pynvml, "nvmlMemory_v2"):
        return ""
    return "%s is not the maintained nvidia-ml-py; remove the PyPI package pynvml" % getattr(
        pynvml, "__file__", "pynvml"
    )


def _first_that_loads(name: str, load: Callable[[], ModuleType], directories: Optional[Sequence[str]]) -> ModuleType:
    """Try the interpreter's own path, then each directory put in front of it; forget half-loaded modules in between."""
    with _LOCK:
        return _load_first(name, load, extra_directories() if directories is None else directories)


def _load_first(name: str, load: Callable[[], ModuleType], directories: Sequence[str]) -> ModuleType:
    detail = ""
    for directory in [None, *directories]:
        if directory is not None:
            sys.path.insert(0, directory)
        try:
            return load()
        # The binding of 2012 that jammy ships is Python 2 source, and a copy made for a newer Python may use newer
        # syntax or fail while it initialises: for the caller each of these means "not usable", with the reason.
        except Exception as error:  # pylint: disable=broad-except
            detail = detail or _reason(error)
            _forget(name)
            if directory is not None:
                sys.path.remove(directory)
    raise LibraryMissing(name, detail)


def _reason(error: Exception) -> str:
    """Return the text of an import failure, or "" where it only says that the module is not there."""
    if isinstance(error, ModuleNotFoundError) and error.name in ("requests", "pynvml"):
        return ""
    return "%s: %s" % (type(error).__name__, error) if not isinstance(error, ImportError) else str(error)


def _forget(name: str) -> None:
    """Drop what a failed import left in sys.modules, so that the next directory is searched."""
    roots = {entry[:-3] if entry.endswith(".py") else entry for entry in TOP_LEVEL[name]}
    for module in [module for module in sys.modules if module.split(".")[0] in roots]:
        del sys.modules[module]
