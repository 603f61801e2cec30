# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The Ollama programs of a host, whoever has installed them, and what lies beside them."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Sequence

#: Where installers and packages put the program (Ollama's scripts/install.sh: the first of these that is in PATH).
_DIRECTORIES = ("/usr/local/bin", "/usr/bin", "/bin", "/opt/ollama/bin", "/snap/bin")
#: Where it has its libraries, from the directory of the program (ml/path.go of Ollama).
_BESIDE = ("../lib/ollama", "lib/ollama")
_MOST_ENTRIES = 1000


def ollama_programs(running: Sequence[str] = (), root: str = "/") -> List[Dict[str, Any]]:
    """Return the Ollama programs of a host.

    Args:
        running: paths of programs that run as servers, wherever they are.
        root: / except in tests.

    Returns:
        [{path, real, libraries, entries}], one for each real file: `real` is the path without links, `libraries` the
        directory of its libraries (None where there is none) and `entries` the names in that.
    """
    found: Dict[str, Dict[str, Any]] = {}
    for path in [os.path.join(directory, "ollama") for directory in _DIRECTORIES] + list(running):
        place = os.path.join(root, path.lstrip("/"))
        if not os.path.isfile(place):
            continue
        real = os.path.realpath(place)
        shown = os.path.join("/", os.path.relpath(real, os.path.realpath(root)))
        if shown not in found:
            found[shown] = dict({"path": path, "real": shown}, **_libraries(real, root))
    return [found[path] for path in sorted(found)]


def _libraries(real: str, root: str) -> Dict[str, Any]:
    for beside in _BESIDE:
        directory = os.path.normpath(os.path.join(os.path.dirname(real), beside))
        try:
            entries = sorted(os.listdir(directory))[:_MOST_ENTRIES]
        except OSError:
            continue
        shown = os.path.join("/", os.path.relpath(directory, os.path.realpath(root)))
        return {"libraries": shown, "entries": entries}
    return {"libraries": None, "entries": []}
