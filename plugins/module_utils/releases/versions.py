# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which placement rules an Ollama version has.

Each module of rules has `decide`, `EFFECTS` (what a setting does) and `FIRST_VERSION`; its rules hold until the first
version of the next module.
"""

from __future__ import annotations

import re
from types import ModuleType

from ..common.service_variables import Version
from . import setting_effects, v0_30
from .before_0_30 import v0_5, v0_11_5, v0_11_11, v0_12_11
from .before_0_30.release import ReleaseBefore030
from .release import Release
from .v0_30_release import ReleaseSince030

# Newest first.
RULES = (v0_30, v0_12_11, v0_11_11, v0_11_5, v0_5)


class UnknownVersion(ValueError):
    """A text is not the number of an Ollama release. The message is one sentence with the value and the remedy."""


def parse_version(version: str) -> Version:
    """A version as three integers; "v0.32.15" and "0.33.0-rc2" are understood.

    Raises:
        UnknownVersion: not a version.
    """
    match = re.match(r"^v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:[-+.][0-9A-Za-z.+-]*)?$", str(version).strip())
    if not match:
        raise UnknownVersion(
            "Ollama version '%s' is not a version such as 0.32.15; give the number of a release." % version
        )
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch)


def rules_for(version: str) -> ModuleType:
    """The module with the placement rules of a version.

    Raises:
        UnknownVersion: not a version.
    """
    numbers = parse_version(version)
    return next(rules for rules in RULES if numbers >= rules.FIRST_VERSION)


def release_of(version: str) -> Release:
    """The release that a plan is made for.

    Args:
        version: text such as "0.32.15".

    Raises:
        UnknownVersion: not a version.
    """
    numbers, rules = parse_version(version), rules_for(version)
    if rules is v0_30:
        return ReleaseSince030(version, numbers, effects(version))
    return ReleaseBefore030(version, numbers, effects(version), rules)


def effects(version: str) -> dict[str, str]:
    """What each setting that concerns placement does on a version, see `setting_effects.effects`.

    Raises:
        UnknownVersion: not a version.
    """
    return setting_effects.effects(rules_for(version).EFFECTS, parse_version(version))
