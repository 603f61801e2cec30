# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The benchmarks of a host as files on the controller, one for each run."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import (
    ControllerFile,
    ControllerFileError,
    UnreadableError,
    file_name,
    read_json,
)

_LARGEST = 16 * 1024 * 1024
_VARIABLE = "ollama_multigpu_benchmark_directory"
_LISTS = ("loads", "measurements", "notes")


class BenchmarkFile(ControllerFile):
    """The file of one run.

    Args:
        directory: The directory; a relative one is below the current directory of Ansible.
        host: The host's name in the inventory.
        time: of the run, as 20261129T130000Z.

    Raises:
        ControllerFileError: The name of the host cannot be the name of a file in the directory.
    """

    def __init__(self, directory: str, host: str, time: str) -> None:
        self._stem = _stem(host)
        super().__init__(directory, "%s.%s.json" % (self._stem, time), "The benchmark of %s" % host, _VARIABLE)

    def last(self) -> Optional[str]:
        """Return the path of the newest file of the host before this one, None without one."""
        before = [path for path in _of_host(self.directory, self._stem) if os.path.basename(path) < self.name]
        return before[-1] if before else None

    def write(self, benchmark: dict[str, Any]) -> None:
        """Write the file as a whole.

        Raises:
            ControllerFileError: It cannot be written.
        """
        self.put(json_text(benchmark).encode("ascii"))


def kept(directory: str, host: str, most: int) -> list[dict[str, Any]]:
    """Return the last benchmarks of a host that are kept in a directory, the newest at the end.

    Files that are no benchmarks are left out, and so is a host whose name no file could have.

    Args:
        directory: The directory, which need not exist.
        host: The host's name in the inventory.
        most: So many of them.
    """
    found = []
    try:
        paths = _of_host(os.path.abspath(os.path.expanduser(directory)), _stem(host))
    except ControllerFileError:
        return []
    for path in paths[-most:]:
        with contextlib.suppress(ControllerFileError):
            found.append(read(path))
    return found


def _stem(host: str) -> str:
    """What the names of the files of a host begin with. Raises ControllerFileError."""
    return file_name(host, "benchmark")[: -len(".json")]


def _of_host(directory: str, stem: str) -> list[str]:
    """Paths of the files of a host, the newest at the end."""
    own = re.compile(re.escape(stem) + r"\.\d{8}T\d{6}Z\.json\Z")
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in sorted(names) if own.match(name)]


def read(path: str) -> dict[str, Any]:
    """Return the benchmark in a file of an earlier run.

    Raises:
        ControllerFileError: It cannot be read, or is none.
    """
    try:
        found = read_json(path, _LARGEST)
    except UnreadableError as error:
        raise ControllerFileError("The benchmark %s cannot be read: %s." % (path, error)) from error
    if not isinstance(found, dict) or not all(isinstance(found.get(name), list) for name in _LISTS):
        raise ControllerFileError("%s is no benchmark that gpufleet.ollama.benchmark_file has written." % path)
    return found
