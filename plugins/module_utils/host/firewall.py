# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host's firewall says: the collection's own rules, and what manages the others."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..common import paths
from ..common.regular import read_regular
from . import systemd
from .command import ask

_SECONDS = 30
_DIGEST = re.compile(r'counter [^\n]*drop comment "([0-9a-f]{32})"')
_LIST = ("list", "table", "inet", paths.FIREWALL_TABLE)
_ABSENT = "No such file or directory"
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
        "loaded": _loaded()[0] if program else None,
        "active": unit.get("ActiveState") in systemd.RUNNING,
        "enabled": unit.get("UnitFileState") in ("enabled", "enabled-runtime"),
        "managers": _managers(units, root),
    }


def rules(root: str = "/") -> Dict[str, Optional[str]]:
    """Return {wanted, loaded, problem} of the collection's rules.

    `wanted` is the digest of those that are loaded at boot, None where the host has none; `loaded` that of those in the
    kernel, "" where they are not as the collection writes them, None where there are none; `problem` is why it is not
    known what is loaded. The kernel is asked only where rules are wanted.

    Args:
        root: / except in tests.
    """
    found: Dict[str, Optional[str]] = {"wanted": None, "loaded": None, "problem": None}
    try:
        found["wanted"] = digest_of(read_regular(paths.below(root, paths.FIREWALL_RULES)).decode("utf-8", "replace"))
    except FileNotFoundError:
        return found
    except OSError as error:
        return dict(found, problem=str(error))
    found["loaded"], found["problem"] = _loaded()
    return found


def digest_of(listed: str) -> str:
    """Return the digest in the collection's rules, as a file or as `nft list table` shows them; "" where they have
    none."""
    found = _DIGEST.search(listed)
    return found.group(1) if found else ""


def _loaded() -> Tuple[Optional[str], Optional[str]]:
    """(digest of the rules in the kernel, why it is not known); both are None where there are no rules."""
    try:
        status, text, complaint = ask([paths.NFT, *_LIST], timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, "%s: %s" % (paths.NFT, error)
    if status == 0:
        return digest_of(text), None
    return None, None if _ABSENT in complaint else " ".join(complaint.split()) or "nft fails"


def _managers(units: Mapping[str, Mapping[str, str]], root: str) -> List[str]:
    found = []
    try:
        text = read_regular(paths.below(root, _UFW)).decode("utf-8", "replace")
        found += ["ufw"] if _UFW_ENABLED.search(text) else []
    except OSError:
        pass
    firewalld = units.get(paths.FIREWALLD_UNIT) or {}
    return found + (["firewalld"] if firewalld.get("ActiveState") == "active" else [])
