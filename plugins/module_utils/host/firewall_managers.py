# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The openings for clients in ufw and firewalld: read, made and taken away.

A rule of the collection names itself, so that no record of them can be lost: by its comment in ufw, by its priority in
firewalld. Rules of others are never changed.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Sequence, Tuple

from ..common import networks, paths
from ..common.openings import FIREWALLD, UFW, Difference, Opening, Place
from ..common.regular import read_regular
from .command import ask

_SECONDS = 120
_UFW = "/usr/sbin/ufw"
_FIREWALL_CMD = "/usr/bin/firewall-cmd"
_FIREWALL_OFFLINE = "/usr/bin/firewall-offline-cmd"

#: Marks a rule of ufw, which keeps comments as hexadecimal text.
_COMMENT = "gpufleet.ollama"
_UFW_ENABLED = re.compile(r"(?m)^\s*ENABLED=[\"']?yes\b")
_UFW_IPV6 = re.compile(r"(?mi)^\s*IPV6=[\"']?yes\b")
#: A rule for incoming TCP to any address, from one network (ufw's backend_iptables.py: action, protocol, destination
#: port and address, source port and address, direction).
_TUPLE = re.compile(
    r"(?m)^### tuple ### (?P<action>[^\s:]+) tcp (?P<ports>[0-9:]+) (?:0\.0\.0\.0|::)/0 any (?P<network>\S+) in"
    r"(?: comment=(?P<comment>(?:[0-9a-f]{2})*))?$"
)

#: Marks a rule of firewalld. A priority above 0 puts it behind the rules of others (firewalld.richlanguage).
_PRIORITY = 11434
_RULE = (
    'rule priority="%(priority)d" family="ipv%(version)d" source address="%(network)s" port port="%(ports)s" '
    'protocol="tcp" accept'
)
_OWN_RULE = re.compile(
    r'rule priority="%d" family="ipv[46]" source address="(\S+)" port port="([0-9-]+)" protocol="tcp" accept'
    % _PRIORITY
)
_DEFAULT_ZONE = re.compile(r"(?m)^\s*DefaultZone\s*=\s*(\S+)")
_SHUT = ("DROP", "%%REJECT%%")


class ManagerError(Exception):
    """ufw or firewalld does not say which rules it has. The text is a sentence without its end."""


@dataclass(frozen=True)
class _Zone:
    """A zone of firewalld, as it is now or as it will be after a reboot."""

    name: str
    active: bool
    target: str
    interfaces: str
    sources: str
    own: Tuple[Opening, ...]


# -- what is there -------------------------------------------------------------------------------------------------


def places(units: Mapping[str, Mapping[str, str]], root: str = "/") -> List[Place]:
    """Return the places that have openings of the collection, or refuse clients without one.

    Args:
        units: of `systemd.show`, with that of firewalld.
        root: / except in tests.

    Raises:
        ManagerError: A manager that is in force does not answer.
    """
    active = (units.get(paths.FIREWALLD_UNIT) or {}).get("ActiveState") in ("active", "reloading")
    return _ufw(root) + (_firewalld(root) if active else _firewalld_offline(root))


def _ufw(root: str) -> List[Place]:
    """ufw's own files say what it has, also where it is not in force. A package that was removed leaves them."""
    if not os.access(paths.below(root, _UFW), os.X_OK):
        return []
    active = bool(_UFW_ENABLED.search(_text(root, "/etc/ufw/ufw.conf")))
    files = {4: "/etc/ufw/user.rules"}
    # Without it, ufw leaves IPv6 alone, and refuses rules for it.
    if _UFW_IPV6.search(_text(root, "/etc/default/ufw")):
        files[6] = "/etc/ufw/user6.rules"
    own: List[Opening] = []
    held: List[Opening] = []
    for path in files.values():
        mine, others = _rules_of_ufw(_text(root, path))
        own += mine
        held += others
    place = Place(UFW, active=active, opens=tuple(files), own=tuple(own), held=tuple(held))
    return [place] if active or own else []


def _rules_of_ufw(text: str) -> Tuple[List[Opening], List[Opening]]:
    """(the collection's, those of others) of a file of ufw."""
    own: List[Opening] = []
    held: List[Opening] = []
    for found in _TUPLE.finditer(text):
        try:
            (network,) = networks.canonical([found["network"]])
        except ValueError:
            continue
        comment = bytes.fromhex(found["comment"] or "").decode("utf-8", "replace")
        mine = (found["action"], comment) == ("allow", _COMMENT)
        (own if mine else held).append(Opening(network, found["ports"].replace(":", "-")))
    return own, held


def _firewalld(root: str) -> List[Place]:
    now = _zones(_answer([_FIREWALL_CMD, "--list-all-zones"]))
    lasting = _zones(_answer([_FIREWALL_CMD, "--permanent", "--list-all-zones"]))
    named = _DEFAULT_ZONE.search(_text(root, "/etc/firewalld/firewalld.conf"))
    refusing = _refusing([*now, *lasting], named.group(1) if named else "public")
    return [
        Place(FIREWALLD, zone.name, is_lasting, opens=(4, 6) if zone.name in refusing else (), own=zone.own)
        for is_lasting, zones in ((False, now), (True, lasting))
        for zone in zones
        if zone.own or zone.name in refusing
    ]


def _firewalld_offline(root: str) -> List[Place]:
    """Openings that are in force again when firewalld starts."""
    pattern = os.path.join(paths.below(root, "/etc/firewalld/zones"), "*.xml")
    marked = any('"%d"' % _PRIORITY in _text("/", path) for path in glob.glob(pattern))
    if not marked or not os.access(paths.below(root, _FIREWALL_OFFLINE), os.X_OK):
        return []
    zones = _zones(_answer([_FIREWALL_OFFLINE, "--list-all-zones"]))
    return [Place(FIREWALLD, zone.name, active=False, own=zone.own) for zone in zones if zone.own]


def _refusing(zones: Sequence[_Zone], default: str) -> List[str]:
    """Names of the zones by which clients come. A zone of sources alone that refuses everything keeps these out, and
    stays shut."""
    used = {zone.name for zone in zones if zone.active or zone.interfaces or zone.sources}
    open_to_some = {zone.name for zone in zones if zone.interfaces or zone.target not in _SHUT}
    return sorted(used & open_to_some | {default})


def _zones(text: str) -> List[_Zone]:
    """Zones of the output of `--list-all-zones`: a line with the name, then its properties, indented; a blank line."""
    found = []
    for block in re.split(r"\n(?=\S)", text):
        name, _separator, state = block.partition("\n")[0].strip().partition(" ")
        if name:
            values: Dict[str, str] = dict(re.findall(r"(?m)^  (target|interfaces|sources): *(.*)$", block))
            own = tuple(Opening(*one) for one in _OWN_RULE.findall(block))
            sides = (values.get("target", ""), values.get("interfaces", ""), values.get("sources", ""))
            found.append(_Zone(name, "active" in state, *sides, own))
    return found


def _text(root: str, path: str) -> str:
    try:
        return read_regular(paths.below(root, path)).decode("utf-8", "replace")
    except OSError:
        return ""


def _answer(command: Sequence[str]) -> str:
    try:
        status, text, complaint = ask(command, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ManagerError("%s fails: %s" % (" ".join(command), error)) from error
    if status:
        raise ManagerError("%s fails: %s" % (" ".join(command), _one_line(complaint or text)))
    return text


# -- what is done --------------------------------------------------------------------------------------------------


def mend(found: Iterable[Difference]) -> List[str]:
    """Make what is missing, then take away what is not wanted any more. Nothing else is touched: nothing is reloaded.

    Args:
        found: what differs.

    Returns:
        What the managers complain of, as sentences without their end. Whether the openings are there all the same, only
        `places` tells: ufw writes a rule down before it loads it.
    """
    complaints = []
    for command in commands(found):
        try:
            _answer(command)
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
    return [program + ["--zone=" + place.zone] + ["--%s-rich-rule=%s" % (verb, _rich_rule(one)) for one in wanted]]


def _ufw_command(verb: str, one: Opening) -> List[str]:
    rule = ["allow", "proto", "tcp", "from", one.network, "to", "any", "port", one.ports.replace("-", ":")]
    return [_UFW, *rule, "comment", _COMMENT] if verb == "add" else [_UFW, "delete", *rule]


def _rich_rule(one: Opening) -> str:
    version = 6 if networks.of_version([one.network], 6) else 4
    return _RULE % {"priority": _PRIORITY, "version": version, "network": one.network, "ports": one.ports}


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "it says nothing"
