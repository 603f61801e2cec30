# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which era of Ollama a version belongs to. An era is a module with `decide`, `EFFECTS` and `FIRST_VERSION`."""

from __future__ import annotations

import re

from . import settings, v0_30
from .before_0_30 import v0_5, v0_11_5, v0_11_11, v0_12_11

# Newest first.
ERAS = (v0_30, v0_12_11, v0_11_11, v0_11_5, v0_5)


def parse_version(version):
    """A version as a tuple of three integers; "v0.32.15" and "0.33.0-rc2" are understood.

    Raises:
        ValueError: not a version.
    """
    match = re.match(r"^v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:[-+.][0-9A-Za-z.+-]*)?$", str(version).strip())
    if not match:
        raise ValueError(
            "Ollama version '%s' is not a version such as 0.32.15; give the number of a release." % version
        )
    return tuple(int(part) for part in match.groups())


def era_for(version):
    """The era module of a version, or None where this collection does not know its rules.

    Raises:
        ValueError: not a version.
    """
    numbers = parse_version(version)
    for era in ERAS:
        if numbers >= era.FIRST_VERSION:
            return era
    return None


def effects(version):
    """What each setting that concerns placement does on a version, see `settings.effects`.

    Args:
        version: text such as "0.32.15".

    Raises:
        ValueError: not a version.
    """
    return settings.effects(era_for(version).EFFECTS, parse_version(version))
