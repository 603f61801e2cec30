# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What this collection has not read of a release that is newer than those that it knows. Pure.

Such a release can be used all the same: what it does is proven after it was started.
"""

from __future__ import annotations

from ..common.service_variables import Version
from . import archives, engine_table


def unchecked_parts(version: str, numbers: Version) -> list[str]:
    """Return what was not checked of a release whose placement was not checked, for "Not checked are: ...".

    Args:
        version: text such as "0.40.0".
        numbers: the version as three integers.
    """
    parts = ["where it places models and how much memory they take", "which settings it reads"]
    if numbers > engine_table.NEWEST_READ:
        parts.append("which architectures its engine loads")
        parts.append("which GPUs and drivers its CUDA libraries are for")
    if version not in archives.CHECKSUMS:
        parts += ["its archive, apart from a checksum that you give", "whether holes are known in it"]
    return parts
