# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The benchmarks of a host as files on the controller, one for each run."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import (
    ControllerFile,
    ControllerFileError,
    file_name,
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
        self._stem = file_name(host, "benchmark")[: -len(".json")]
        super().__init__(directory, "%s.%s.json" % (self._stem, time), "The benchmark of %s" % host, _VARIABLE)

    def last(self) -> Optional[str]:
        """Return the path of the newest file of the host before this one, None without one."""
        own = re.compile(re.escape(self._stem) + r"\.\d{8}T\d{6}Z\.json\Z")
        names = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        before = sorted(name for name in names if own.match(name) and name < self.name)
        return os.path.join(self.directory, before[-1]) if before else None

    def write(self, benchmark: dict[str, Any]) -> None:
        """Write the file as a whole.

        Raises:
            ControllerFileError: It cannot be written.
        """
        self.put(json_text(benchmark).encode("ascii"))


def read(path: str) -> dict[str, Any]:
    """Return the benchmark in a file of an earlier run.

    Raises:
        ControllerFileError: It cannot be read, or is none.
    """
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            found = json.loads(stream.read(_LARGEST).decode("utf-8"))
    except OSError as error:
        raise ControllerFileError("The benchmark %s cannot be read: %s." % (path, error.strerror or error)) from error
    except (ValueError, RecursionError) as error:
        raise ControllerFileError("%s is no benchmark: it is not JSON." % path) from error
    if not isinstance(found, dict) or not all(isinstance(found.get(name), list) for name in _LISTS):
        raise ControllerFileError("%s is no benchmark that gpufleet.ollama.benchmark_file has written." % path)
    return found
