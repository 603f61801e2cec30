# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The device nodes of the GPUs as they are on the host, whatever a service may do with them."""

from __future__ import annotations

import glob
import os
import stat
from typing import Any, Dict, List, Sequence

from .device_nodes import CONTROL, UNIFIED_MEMORY


def nvidia_nodes(minors: Sequence[int], root: str = "/") -> List[Dict[str, Any]]:
    """Return the device nodes of NVIDIA GPUs: those that are there, and those that should be.

    Args:
        minors: minor numbers of the GPUs that the driver lists, each of which has a node /dev/nvidiaN.
        root: / except in tests.

    Returns:
        [{path, mode, uid, gid}], sorted by path. `mode` is the permission bits; all three are None for a node that is
        not there.
    """
    wanted = {CONTROL, UNIFIED_MEMORY} | {"/dev/nvidia%d" % minor for minor in minors}
    there = glob.glob(os.path.join(root, "dev/nvidia[0-9]*"))
    wanted |= {"/" + os.path.relpath(path, root) for path in there}
    return [_node(path, os.path.join(root, path.lstrip("/"))) for path in sorted(wanted)]


def _node(path: str, place: str) -> Dict[str, Any]:
    try:
        found = os.stat(place)
    except OSError:
        return {"path": path, "mode": None, "uid": None, "gid": None}
    return {"path": path, "mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid}
