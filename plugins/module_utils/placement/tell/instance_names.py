# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Names of instances: after the numbers of their GPUs. Pure."""

from __future__ import annotations

import re
from typing import Collection, Optional, Sequence

from ..errors import PlacementError
from ..shapes import Gpu


def instance_name(gpus: Sequence[Gpu]) -> str:
    """Return the name of the instance on these GPUs, from their numbers: "gpu0", "gpu0-1"; "cpu" without GPUs.

    MIG slices of one GPU share its number and get the start of their UUID added.
    """
    if not gpus:
        return "cpu"
    if len(gpus) == 1 and gpus[0].is_slice:
        return "gpu%dm%s" % (gpus[0].number, re.sub(r"[^0-9a-f]", "", gpus[0].uuid[4:].lower())[:8])
    return "gpu" + "-".join(str(gpu.number) for gpu in gpus)


def names_on(name: str) -> list[str]:
    """Return the names of the instances that can be on the same GPUs: "gpu0", "gpu0b", "gpu0c" and so on."""
    return [name] + [name + letter for letter in "bcdefghijklmnopqrstuvwxyz"]


def free_name(name: str, taken: Collection[Optional[str]]) -> str:
    """Return the first of `names_on` that is not taken.

    Raises:
        PlacementError: all of them are.
    """
    for candidate in names_on(name):
        if candidate not in taken:
            return candidate
    raise PlacementError(
        "More than 26 instances on the GPUs of %s; give the models the same settings so that they can share one." % name
    )
