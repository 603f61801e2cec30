# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host's firewall says: the collection's own rules, and what manages the others."""

from __future__ import annotations

import os
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ..common import firewall_rules, networks, paths
from ..common.openings import Opening, place_data
from ..common.regular import read_regular
from . import firewall_managers, systemd, ufw
from .command import ask
from .json_file import write_text
from .ownership import FilesError

_SECONDS = 30
_LIST = ("list", "table", "inet", paths.FIREWALL_TABLE)
_ABSENT = "No such file or directory"
_MODE = 0o644
_MISSING = "it is missing"
_NOT_WRITTEN = "it has other rules than the role writes"
_ENABLED = ("enabled", "enabled-runtime")


def state(units: Mapping[str, Mapping[str, str]], root: str = "/", allowed: Sequence[str] = ()) -> Dict[str, Any]:
    """Return {program, loaded, active, enabled, places, problem}.

    `program` is that of nftables, None where there is none; `loaded` the digest of the collection's rules in the
    kernel, "" where they are not as the collection writes them, None where there are none or that is not known;
    `active` and `enabled` tell about the unit that loads them; `places` are those of ufw and firewalld
    (common/openings.py), and `problem` is why not all of these are known.

    Args:
        units: of `systemd.show_ours`.
        root: / except in tests.
        allowed: networks that may be opened there, as networks.canonical writes them.
    """
    unit = units.get(paths.FIREWALL_UNIT) or {}
    found, problem = firewall_managers.places(units, root)
    program = paths.NFT if root == "/" and os.access(paths.NFT, os.X_OK) else None
    return {
        "program": program,
        "loaded": _digest(_listed()[0]) if program else None,
        "active": unit.get("ActiveState") in systemd.RUNNING,
        "enabled": unit.get("UnitFileState") in _ENABLED,
        "places": [place_data(place, allowed) for place in found],
        "problem": problem,
    }


def rules(units: Mapping[str, Mapping[str, str]], root: str = "/") -> Dict[str, Any]:
    """Return {wanted, fault, loaded, ports, problem, closed} of the collection's rules.

    `wanted` is the digest of those in the file, None where it has none; `fault` what is wrong with the file although
    rules are wanted: there is one, or a unit loads it. `loaded` is the digest of those in the kernel, "" where these
    are not as the collection writes them, None where there are none; `ports` are the ports that they guard. `problem`
    is why it is not known what is loaded. The kernel is asked only where rules are wanted. `closed` are the clients of
    the rules in the file that ufw keeps out, None where it is not in force, or where that is not known.

    Args:
        units: of `systemd.show`, of the instances and of paths.FIREWALL_UNIT.
        root: / except in tests.
    """
    found: Dict[str, Any] = dict.fromkeys(("wanted", "fault", "loaded", "problem", "closed"))
    found["ports"] = ()
    try:
        written = firewall_rules.read(_text(root, paths.FIREWALL_RULES))
        found["wanted"], found["fault"] = (written.digest, None) if written else (None, _NOT_WRITTEN)
        found["closed"] = _closed(written, root) if written else None
    except FileNotFoundError:
        if not _load_rules(units):
            return found
        found["fault"] = _MISSING
    except OSError as error:
        return dict(found, problem=str(error))
    listed, found["problem"] = _listed()
    loaded = firewall_rules.read(listed or "")
    return dict(found, loaded=_digest(listed), ports=loaded.ports if loaded else ())


def _closed(written: firewall_rules.Firewall, root: str) -> Optional[Tuple[Opening, ...]]:
    try:
        return ufw.kept_out(networks.canonical(written.allowed), written.ports, root)
    except OSError:
        return None  # not every user may read the files of ufw


def ready_file() -> bool:
    """Make sure that the file of the rules can be loaded: where it is missing, write it from the rules in force.

    Returns:
        Whether it was written.

    Raises:
        FilesError: it has other rules than the role writes, or is missing and the kernel does not have them either.
    """
    try:
        written = firewall_rules.read(_text("/", paths.FIREWALL_RULES))
    except FileNotFoundError:
        loaded = firewall_rules.read(_listed()[0] or "")
        if not loaded:
            raise FilesError("%s is missing, and its rules are not in force either" % paths.FIREWALL_RULES)
        write_text(paths.FIREWALL_RULES, loaded.text, _MODE)
        return True
    except OSError as error:
        raise FilesError(str(error))
    if not written:
        raise FilesError("%s: %s" % (paths.FIREWALL_RULES, _NOT_WRITTEN))
    return False


def _load_rules(units: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a unit loads the rules at its next start."""
    enabled = (units.get(paths.FIREWALL_UNIT) or {}).get("UnitFileState") in _ENABLED
    return enabled or any(paths.FIREWALL_RULES in one.get("ExecStartPre", "") for one in units.values())


def _digest(listed: Optional[str]) -> Optional[str]:
    """The digest of what nft lists; "" where that is not as the collection writes it, None where it lists nothing."""
    if listed is None:
        return None
    found = firewall_rules.read(listed)
    return found.digest if found else ""


def _listed() -> Tuple[Optional[str], Optional[str]]:
    """(the table of the collection in the kernel, why it is not known); both are None where there is no such table."""
    try:
        status, text, complaint = ask([paths.NFT, *_LIST], timeout=_SECONDS)
    except OSError as error:
        return None, "%s: %s" % (paths.NFT, error)
    if status == 0:
        return text, None
    return None, None if _ABSENT in complaint else " ".join(complaint.split()) or "nft fails"


def _text(root: str, path: str) -> str:
    return read_regular(paths.below(root, path)).decode("utf-8", "replace")
