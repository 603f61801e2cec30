# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host's firewall says: the collection's own rules, and what manages the others."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any, Dict, List, Mapping, Optional

from ..common import paths
from ..common.regular import read_regular
from .command import ask

_SECONDS = 30
_DIGEST = re.compile(r'counter [^\n]*drop comment "([0-9a-f]{32})"')
_UFW = "/etc/ufw/ufw.conf"
_UFW_ENABLED = re.compile(r"(?m)^\s*ENABLED=[\"']?yes\b")


def state(units: Mapping[str, Mapping[str, str]], root: str = "/") -> Dict[str, Any]:
    """Return {program, loaded, active, enabled, managers}.

    `program` is that of nftables, None where there is none; `loaded` the digest of the collection's rules in the
    kernel, "" where they are not as the collection writes them, None where there are none or that is not known;
    `active` and `enabled` tell about the unit that loads them; `managers` are those of ufw and firewalld that are in
    force.

    Args:
        units: of `systemd.show_ours`.
        root: / except in tests.
    """
    unit = units.get(paths.FIREWALL_UNIT) or {}
    program = paths.NFT if root == "/" and os.access(paths.NFT, os.X_OK) else None
    return {
        "program": program,
        "loaded": _loaded(program) if program else None,
        "active": unit.get("ActiveState") in ("active", "activating", "reloading"),
        "enabled": unit.get("UnitFileState") in ("enabled", "enabled-runtime"),
        "managers": _managers(units, root),
    }


def digest_of(listed: str) -> str:
    """Return the digest in what `nft list table` shows of the collection's rules, "" where it has none."""
    found = _DIGEST.search(listed)
    return found.group(1) if found else ""


def _loaded(program: str) -> Optional[str]:
    try:
        status, text, _complaint = ask([program, "list", "table", "inet", paths.FIREWALL_TABLE], timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return digest_of(text) if status == 0 else None


def _managers(units: Mapping[str, Mapping[str, str]], root: str) -> List[str]:
    found = []
    try:
        text = read_regular(paths.below(root, _UFW)).decode("utf-8", "replace")
        found += ["ufw"] if _UFW_ENABLED.search(text) else []
    except OSError:
        pass
    firewalld = units.get(paths.FIREWALLD_UNIT) or {}
    return found + (["firewalld"] if firewalld.get("ActiveState") == "active" else [])
