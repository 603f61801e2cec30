# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The openings for clients in ufw and firewalld: read, made and taken away.

A rule of the collection names itself, so that no record of them can be lost: by its comment in ufw, by its priority in
firewalld (firewalld_zones.py). Rules of others are never changed.
"""

from __future__ import annotations

import os
import re
import time
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..common import networks, paths
from ..common.openings import FIREWALLD, UFW, Difference, Opening, Place
from ..common.regular import read_regular
from . import firewalld_zones, systemd
from .command import ask

#: How long a question may take, and how long a change: firewalld gets all rules of a zone at once, and loads them one
#: by one. A firewalld that hangs is asked once in a run of host_info.
_ASK_SECONDS, _MEND_SECONDS = 30, 120
_UFW = "/usr/sbin/ufw"
_FIREWALL_CMD = "/usr/bin/firewall-cmd"
_FIREWALL_OFFLINE = "/usr/bin/firewall-offline-cmd"
#: How long a firewalld that starts or stops is waited for, and how often it is asked.
_SECONDS_ON_ITS_WAY, _SECONDS_BETWEEN = 60, 1
_ON_ITS_WAY = ("activating", "deactivating")

#: Marks a rule of ufw, which keeps comments as hexadecimal text. Any other text is a comment of others.
_COMMENT = "gpufleet.ollama"
_OUR_COMMENT = _COMMENT.encode("utf-8").hex()
#: ufw reads its settings from these, the last one counts (ufw's backend.py: _get_defaults).
_SETTINGS = ("/etc/default/ufw", "/etc/ufw/ufw.conf")
_SETTING = re.compile(r'(?m)^(\w+)=("?\w+"?.*)$')
#: Rules of users, by the version of IP.
RULES_OF_UFW = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
#: Where the kernel has IPv6. Without it, ufw refuses rules for IPv6, whatever its settings say (backend.py: use_ipv6).
_KERNEL_IPV6 = "/proc/sys/net/ipv6"
#: A rule for incoming TCP to any address, from one network (ufw's backend_iptables.py: action, protocol, destination
#: port and address, source port and address, direction).
_TUPLE = re.compile(
    r"(?m)^### tuple ### (?P<action>[^\s:]+) tcp (?P<ports>[0-9:]+) (?:0\.0\.0\.0|::)/0 any (?P<network>\S+) in"
    r"(?: comment=(?P<comment>\S*))?[ \t]*$"
)
_DEFAULT_ZONE = re.compile(r"(?m)^\s*DefaultZone\s*=\s*(\S+)")

_NO_IPV6_IN_UFW = (
    "ufw takes no rule for IPv6 away while /etc/default/ufw has IPV6=no. It is not in force. Set IPV6=yes there and "
    "run it again, or delete its two lines in " + RULES_OF_UFW[6]
)
_NO_IPV6_IN_KERNEL = (
    "ufw takes no rule for IPv6 away while the kernel has no IPv6. It is not in force. Delete its two lines in "
    + RULES_OF_UFW[6]
)
_NOT_ANSWERING = (
    "firewalld does not answer, and has it in " + firewalld_zones.DIRECTORY + ". Make it answer and run it again"
)


class ManagerError(Exception):
    """ufw or firewalld does not say which rules it has. The text is a sentence without its end."""


# -- what is there -------------------------------------------------------------------------------------------------


def places(units: Mapping[str, Mapping[str, str]], root: str = "/") -> Tuple[List[Place], Optional[str]]:
    """Return the places that have openings of the collection, or refuse clients without one; and why not all are known.

    Where a manager that is in force does not answer, its files say what it has of the collection.

    Args:
        units: of `systemd.show`, with that of firewalld.
        root: / except in tests.
    """
    found = places_of_ufw(root)
    try:
        return found + (_firewalld(root) if _runs(units) else _firewalld_offline(root)), None
    except ManagerError as error:
        return found + _silent_firewalld(root), str(error)


def _runs(units: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether firewalld is in force. While it starts or stops, it has no answer, and what it will have counts."""
    until = time.monotonic() + _SECONDS_ON_ITS_WAY
    while True:
        state = (units.get(paths.FIREWALLD_UNIT) or {}).get("ActiveState")
        if state not in _ON_ITS_WAY:
            return state in systemd.RUNNING
        if time.monotonic() > until:
            raise ManagerError("%s is %s for %d seconds" % (paths.FIREWALLD_UNIT, state, _SECONDS_ON_ITS_WAY))
        time.sleep(_SECONDS_BETWEEN)
        units = systemd.show([paths.FIREWALLD_UNIT])


def places_of_ufw(root: str = "/") -> List[Place]:
    """Return the places of ufw, as its own files say, also where it is not in force. A removed package leaves them.

    Args:
        root: / except in tests.
    """
    if not os.access(paths.below(root, _UFW), os.X_OK):
        return []
    settings = settings_of_ufw(root)
    active, wants_ipv6 = settings.get("ENABLED") == "yes", settings.get("IPV6") == "yes"
    kernel_has_ipv6 = os.path.exists(paths.below(root, _KERNEL_IPV6))
    own, held = _rules_of_ufw(_text(root, RULES_OF_UFW[4]))
    own_6, held_6 = _rules_of_ufw(_text(root, RULES_OF_UFW[6]))
    if wants_ipv6 and kernel_has_ipv6:
        place = Place(UFW, active=active, opens=(4, 6), own=own + own_6, held=held + held_6)
    else:
        # With IPV6=no, ufw drops all of IPv6 (ufw-init-functions), and an opening does not help.
        shut = (6,) if active and kernel_has_ipv6 else ()
        why = _NO_IPV6_IN_UFW if kernel_has_ipv6 else _NO_IPV6_IN_KERNEL
        place = Place(UFW, active=active, opens=(4,), own=own, held=held, shut=shut, kept=own_6, why_kept=why)
    return [place] if active or own or own_6 else []


def settings_of_ufw(root: str = "/") -> Dict[str, str]:
    """Return the settings of ufw by their names in upper case, with values in lower case; {} where it has no files."""
    found = [one for path in _SETTINGS for one in _SETTING.findall(_text(root, path))]
    return {name.upper(): value.strip().strip("\"'").lower() for name, value in found}


def _rules_of_ufw(text: str) -> Tuple[Tuple[Opening, ...], Tuple[Opening, ...]]:
    """(the collection's, those of others) of a file of ufw."""
    own: List[Opening] = []
    held: List[Opening] = []
    for found in _TUPLE.finditer(text):
        try:
            (network,) = networks.canonical([found["network"]])
        except ValueError:
            continue
        mine = (found["action"], found["comment"]) == ("allow", _OUR_COMMENT)
        (own if mine else held).append(Opening(network, found["ports"].replace(":", "-")))
    return tuple(own), tuple(held)


def _firewalld(root: str) -> List[Place]:
    now = firewalld_zones.zones(_answer([_FIREWALL_CMD, "--list-all-zones"]))
    lasting = firewalld_zones.zones(_answer([_FIREWALL_CMD, "--permanent", "--list-all-zones"]))
    named = _DEFAULT_ZONE.search(_text(root, "/etc/firewalld/firewalld.conf"))
    used = firewalld_zones.used([*now, *lasting], named.group(1) if named else "public")
    found = []
    for is_lasting, zones in ((False, now), (True, lasting)):
        for zone in zones:
            refuses = zone.name in used and zone.refuses
            if zone.own or refuses:
                found.append(Place(FIREWALLD, zone.name, is_lasting, opens=(4, 6) if refuses else (), own=zone.own))
    return found


def _firewalld_offline(root: str) -> List[Place]:
    """Openings that are in force again when firewalld starts. A package that was removed leaves them."""
    if not os.access(paths.below(root, _FIREWALL_OFFLINE), os.X_OK):
        return []
    zones = firewalld_zones.written(root)
    return [Place(FIREWALLD, name, active=False, own=own) for name, own in zones.items()]


def _silent_firewalld(root: str) -> List[Place]:
    """Openings that nobody can take away before firewalld answers. What is not lasting goes when it starts anew."""
    zones = firewalld_zones.written(root)
    return [Place(FIREWALLD, name, opens=(), kept=own, why_kept=_NOT_ANSWERING) for name, own in zones.items()]


def _text(root: str, path: str) -> str:
    try:
        return read_regular(paths.below(root, path)).decode("utf-8", "replace")
    except OSError:
        return ""


def _answer(command: Sequence[str], seconds: float = _ASK_SECONDS) -> str:
    try:
        status, text, complaint = ask(command, timeout=seconds)
    except OSError as error:
        raise ManagerError("%s fails: %s" % (" ".join(command), error)) from error
    if status:
        raise ManagerError("%s fails: %s" % (" ".join(command), _one_line(complaint or text)))
    return text


# -- what is done --------------------------------------------------------------------------------------------------


def mend(found: Iterable[Difference]) -> List[str]:
    """Make what is missing, then take away what is not wanted any more. No rule of others is changed.

    Args:
        found: what differs.

    Returns:
        What the managers complain of, as sentences without their end. Whether the openings are there all the same, only
        `places` tells: ufw writes a rule down before it loads it.
    """
    complaints = []
    for command in commands(found):
        try:
            _answer(command, _MEND_SECONDS)
        except ManagerError as error:
            complaints.append(str(error))
    return complaints


def commands(found: Iterable[Difference]) -> List[List[str]]:
    """Return the commands that mend differences, those that open before those that close."""
    known = list(found)
    return [
        command
        for verb, side in (("add", "missing"), ("remove", "stale"))
        for one in known
        for command in _commands(one.place, verb, getattr(one, side))
    ]


def _commands(place: Place, verb: str, wanted: Sequence[Opening]) -> List[List[str]]:
    if place.manager == UFW:
        return [_ufw_command(verb, one) for one in wanted]
    if not wanted:
        return []
    program = [_FIREWALL_CMD] + (["--permanent"] if place.lasting else []) if place.active else [_FIREWALL_OFFLINE]
    rules = ["--%s-rich-rule=%s" % (verb, firewalld_zones.rich_rule(one)) for one in wanted]
    return [program + ["--zone=" + place.zone] + rules]


def _ufw_command(verb: str, one: Opening) -> List[str]:
    rule = ["allow", "proto", "tcp", "from", one.network, "to", "any", "port", one.ports.replace("-", ":")]
    return [_UFW, *rule, "comment", _COMMENT] if verb == "add" else [_UFW, "delete", *rule]


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "it says nothing"
