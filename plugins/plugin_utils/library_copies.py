# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The controller's pure-Python copies of the modules' libraries, as an archive that Python imports from."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pathlib
import zipfile
from collections.abc import Iterable

try:
    from packaging import specifiers
except ImportError:  # ansible-core requires it; only ansible-test imports plugins without
    specifiers = None  # type: ignore[assignment]

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import NVML, REQUESTS
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.library_directory import tree_digest

#: Import names that a copy must have, and those that it takes along where the controller has them.
_NEEDED = {REQUESTS: ("requests", "urllib3", "idna", "certifi"), NVML: ("pynvml",)}
_OPTIONAL = {REQUESTS: ("charset_normalizer",), NVML: ()}
_DISTRIBUTION = {"pynvml": NVML, "charset_normalizer": "charset-normalizer"}


class CopyUnavailable(Exception):
    """The controller has no copy to send. The text says what is missing and what to install there."""


class LibraryCopy:
    """One library as the controller has it.

    Attributes:
        name: The library as PyPI names it.
        files: Its files by their paths in the archive.
        version: Its version.
        digest: SHA-256 over its files.

    Args:
        name: The library as PyPI names it.

    Raises:
        CopyUnavailable: The controller does not have the library, or a part of it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[str, pathlib.Path] = {}
        self._requirements: list[tuple[str, str, str | None]] = []  # (distribution, version, Requires-Python)
        for module in _NEEDED[name]:
            self._add(module, needed=True)
        for module in _OPTIONAL[name]:
            self._add(module, needed=False)
        if name == REQUESTS:
            self._add_what_urllib3_1_needs()
        self.version = self._requirements[0][1]

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of all files, in the order of their names."""
        return tree_digest({path: source.read_bytes() for path, source in self.files.items()})

    def too_new_for(self, python_version: str) -> tuple[str, str, str] | None:
        """Return (distribution, version, Requires-Python) of the first part that this Python cannot run, or None."""
        for distribution, version, requires in self._requirements:
            try:
                if requires and python_version not in specifiers.SpecifierSet(requires):
                    return distribution, version, requires
            except specifiers.InvalidSpecifier:
                continue
        return None

    def _add(self, module: str, needed: bool) -> None:
        """Add the files of a top-level module; a module that is not needed may be absent."""
        root, distribution = _locate(module)
        if root is None:
            if needed:
                raise CopyUnavailable(
                    "the controller has no %s to send along: install %s into the Python that runs Ansible"
                    % (_DISTRIBUTION.get(module, module), self.name)
                )
            return
        self._requirements.append(distribution)
        if root.is_file():
            self.files[root.name] = root
            return
        for source in sorted(root.rglob("*")):
            # Compiled parts are for the controller's Python only; each of these packages works without them.
            if source.suffix in (".py", ".pem") and "__pycache__" not in source.parts and source.is_file():
                self.files[str(source.relative_to(root.parent))] = source

    def _add_what_urllib3_1_needs(self) -> None:
        """Add `six`, which Debian's urllib3 1.26 imports. The upstream one contains it, and urllib3 2 needs none."""
        version = next(version for name, version, requires in self._requirements if name == "urllib3")
        if version.startswith("1."):
            self._add("six", needed=False)


def _locate(module: str) -> tuple[pathlib.Path | None, tuple[str, str, str | None]]:
    """Return where a top-level module is, and its distribution.

    Returns:
        A file or the directory of a package (None if the module is absent), and (distribution, version,
        Requires-Python).
    """
    name = _DISTRIBUTION.get(module, module)
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        distribution = None
    described = (
        name,
        distribution.version if distribution else "unknown",
        distribution.metadata.get("Requires-Python") if distribution else None,
    )
    if module == "pynvml" and distribution is not None:
        # The directory of PyPI's old `pynvml` package hides this file; the distribution knows where its own one is.
        own = pathlib.Path(str(distribution.locate_file("pynvml.py")))
        if own.is_file():
            return own, described
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin:
        return None, described
    if spec.submodule_search_locations:
        if module == "pynvml":
            return None, described
        return pathlib.Path(next(iter(spec.submodule_search_locations))), described
    return pathlib.Path(spec.origin), described


def write_archive(copies: Iterable[LibraryCopy], path: str) -> None:
    """Write the files of several libraries into one zip file at `path`, which is replaced by a rename."""
    draft = "%s.%d" % (path, os.getpid())
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for copy in copies:
            for name, source in sorted(copy.files.items()):
                archive.writestr(zipfile.ZipInfo(name), source.read_bytes(), zipfile.ZIP_DEFLATED)
    os.replace(draft, path)
