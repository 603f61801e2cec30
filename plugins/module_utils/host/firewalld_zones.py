# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Zones of firewalld, as its programs print them and as their files have them, and the collection's rules in them.

A rule of the collection has a priority of its own, so that no record of them can be lost.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, Sequence, Tuple
from xml.etree import ElementTree

from ..common import networks, paths
from ..common.openings import Opening
from ..common.regular import read_regular

#: The changed zones. Those that nobody has changed are in /usr/lib/firewalld/zones.
DIRECTORY = "/etc/firewalld/zones"
#: A priority above 0 puts a rule behind the rules of others (firewalld.richlanguage).
_PRIORITY = 11434
_RULE = (
    'rule priority="%(priority)d" family="ipv%(version)s" source address="%(network)s" port port="%(ports)s" '
    'protocol="tcp" accept'
)
#: The whole rule: what follows, such as a limit, makes it another one.
_OWN_RULE = re.compile(
    r"(?m)^\s*%s[ \t]*$"
    % _RULE
    % {"priority": _PRIORITY, "version": "[46]", "network": r"([^\s\"]+)", "ports": "([0-9-]+)"}
)
_SHUT, _OPEN = ("DROP", "%%REJECT%%"), "ACCEPT"
#: The elements of a rule of the collection in the file of a zone, with their attributes.
_ELEMENTS = [("source", {"address"}), ("port", {"port", "protocol"}), ("accept", set())]


@dataclass(frozen=True)
class Zone:
    """A zone, as it is now or as it will be after a reboot.

    Attributes:
        name: of the zone.
        active: whether connections come by it now.
        target: what happens to packets without a rule: "default", "ACCEPT", "DROP" or "%%REJECT%%".
        interfaces: names of interfaces, separated by spaces.
        sources: networks whose connections come by it, separated by spaces.
        own: openings of the collection.
    """

    name: str
    active: bool
    target: str
    interfaces: str
    sources: str
    own: Tuple[Opening, ...]

    @property
    def refuses(self) -> bool:
        """Whether it refuses anybody. Those of Docker and of libvirt, and the zone trusted, let everybody through."""
        return self.target != _OPEN


def zones(text: str) -> List[Zone]:
    """Return the zones of an output of `--list-all-zones`: a line with the name, its properties, a blank line."""
    found = []
    for block in text.split("\n\n"):
        name, _separator, state = block.partition("\n")[0].strip().partition(" ")
        if name:
            values: Dict[str, str] = dict(re.findall(r"(?m)^  (target|interfaces|sources): *(.*)$", block))
            own = tuple(Opening(*one) for one in _OWN_RULE.findall(block))
            sides = (values.get("target", ""), values.get("interfaces", ""), values.get("sources", ""))
            found.append(Zone(name, "active" in state, *sides, own))
    return found


def used(known: Sequence[Zone], default: str) -> List[str]:
    """Return the names of the zones by which clients come. A zone of sources alone that refuses everything keeps these
    out, and stays shut.

    Args:
        known: zones as they are now and as they will be.
        default: name of the default zone.
    """
    in_use = {zone.name for zone in known if zone.active or zone.interfaces or zone.sources}
    open_to_some = {zone.name for zone in known if zone.interfaces or zone.target not in _SHUT}
    return sorted(in_use & open_to_some | {default})


def written(root: str = "/") -> Dict[str, Tuple[Opening, ...]]:
    """Return {zone: openings of the collection} of the files of zones; firewalld does not have to run.

    A file that is no XML is none for firewalld either.

    Args:
        root: / except in tests.
    """
    found = {}
    for path in sorted(glob.glob(os.path.join(paths.below(root, DIRECTORY), "*.xml"))):
        try:
            own = tuple(_own(read_regular(path)))
        except (OSError, ElementTree.ParseError):
            continue
        if own:
            found[os.path.basename(path)[: -len(".xml")]] = own
    return found


def _own(content: bytes) -> Iterator[Opening]:
    for rule in ElementTree.fromstring(content).findall("rule"):
        parts = list(rule)
        plain = not any(len(part) for part in parts) and set(rule.attrib) == {"priority", "family"}
        if plain and [(part.tag, set(part.attrib)) for part in parts] == _ELEMENTS:
            source, port = parts[0].attrib, parts[1].attrib
            if (rule.get("priority"), port["protocol"]) == (str(_PRIORITY), "tcp"):
                yield Opening(source["address"], port["port"])


def rich_rule(one: Opening) -> str:
    """Return the rule that makes an opening, in the rich language of firewalld."""
    version = 6 if networks.of_version([one.network], 6) else 4
    return _RULE % {"priority": _PRIORITY, "version": version, "network": one.network, "ports": one.ports}
