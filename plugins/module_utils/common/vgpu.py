# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Profiles of virtual GPUs. Pure."""

from __future__ import annotations

import re
from typing import Optional

#: NVML's name of a vGPU: the GPU, then the size and series of the profile, as in "NVIDIA A16-4B" or "GRID P40-1B4".
_PROFILE_WITHOUT_CUDA = re.compile(r"-[0-9]+(?P<series>[AB])[0-9]?\s*\Z")


def series_without_cuda(name: Optional[str]) -> Optional[str]:
    """Return the series of a vGPU profile that has no CUDA, None for every other GPU.

    Series A is for applications and series B for desktops (NVIDIA vGPU User Guide).

    Args:
        name: of the GPU as NVML tells it.
    """
    match = _PROFILE_WITHOUT_CUDA.search(name or "")
    return match.group("series") if match else None
