# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs CUDA shows to a process, by its CUDA_VISIBLE_DEVICES. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
_MIG = "MIG-"
_UUIDS = ("GPU-", _MIG)


def shown(uuids: Sequence[Optional[str]], text: Optional[str]) -> list[tuple[int, str]]:
    """Return the GPUs that CUDA shows to a process, in the order of its device numbers.

    An entry that names none of them, or one again, hides all that follow. A process sees one MIG device, the first one,
    and then no other GPU (NVIDIA MIG User Guide, "Device Enumeration").

    Args:
        uuids: of the GPUs in the order of their numbers, with the MIG devices of a GPU in its place; None for one
            whose UUID is not known.
        text: CUDA_VISIBLE_DEVICES (UUIDs, unique beginnings of UUIDs, or numbers), None where it is not set.

    Returns:
        (place in uuids, token): the token is the entry as it is written, or the number where the variable is not set.
    """
    if text is None:
        listed = [(place, str(place)) for place in range(len(uuids))]
        mig = next((place for place, uuid in enumerate(uuids) if _is_mig(uuid)), None)
        return listed if mig is None else [(mig, "0")]
    found: list[tuple[int, str]] = []
    for token in (part.strip() for part in text.split(",")):
        matches = [place for place, uuid in enumerate(uuids) if _names(token, place, uuid)]
        if len(matches) != 1 or matches[0] in [place for place, _token in found]:
            break
        found.append((matches[0], token))
    return next(([one] for one in found if _is_mig(uuids[one[0]])), found)


def _names(token: str, place: int, uuid: Optional[str]) -> bool:
    return token == str(place) or (token.startswith(_UUIDS) and (uuid or "").startswith(token))


def _is_mig(uuid: Optional[str]) -> bool:
    return (uuid or "").startswith(_MIG)
