# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The rules of nftables that say who may connect: how they are written, and read back from a file or the kernel. Pure.

Rules are read whole: a rule, a chain or a flag that the collection does not write makes them other rules. What nft may
print in several ways is read in all of them (tests/unit/plugins/module_utils/common/listed_rules.py has what the
releases 0.9.8 to 1.1.3 print): counters, sets as elements, ranges or one value, priorities as names or numbers.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Optional, Tuple

from . import networks, paths
from .managed import MANAGED

#: The first statement makes the table where it is missing, so that the second one never fails. nft applies a file as
#: one transaction: at no moment is a port open to others.
_ANEW = "table inet %s\ndelete table inet %s\n" % (paths.FIREWALL_TABLE, paths.FIREWALL_TABLE)
_TABLE = """\
table inet @table@ {
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname "lo" accept
\t\ttcp dport @ports@ jump clients
\t}
\tchain clients {
@clients@\t\tcounter drop
\t}
}
""".replace("@table@", paths.FIREWALL_TABLE)
_CLIENTS = "\t\t%s saddr %s accept\n"
_FAMILIES = (("ip", 4), ("ip6", 6))
_SET = r"(?P<%s>\{ [^{}]+ \}|[^{} ]+)"
_LAST_PORT = 65535


def _shape() -> "re.Pattern[str]":
    """The expression for the rules in one line, as a file or as nft lists them."""
    text = re.escape(" ".join(_TABLE.replace("@clients@", "@clients@ ").split()))
    clients = "".join("(?:%s )?" % ((_CLIENTS.strip()) % (name, _SET % name)) for name, _version in _FAMILIES)
    for written, listed in (
        (re.escape("@clients@ "), clients),
        (re.escape("@ports@"), _SET % "ports"),
        (re.escape("priority filter;"), "priority (?:filter|0);"),
        (re.escape("counter drop"), r"counter (?:packets \d+ bytes \d+ )?drop"),
    ):
        text = text.replace(written, listed)
    return re.compile("(?:%s)?%s" % (re.escape(" ".join(_ANEW.split()) + " "), text))


_SHAPE = _shape()


@dataclass(frozen=True)
class Firewall:
    """Rules of a host.

    Attributes:
        ports: of the instances.
        allowed: networks (networks.py) whose hosts may connect, beside the host itself.
    """

    ports: Tuple[int, ...]
    allowed: Tuple[str, ...]

    @property
    def digest(self) -> str:
        """What names rules by what they do, however they are written."""
        told = "%s %s" % (sorted(set(self.ports)), networks.canonical(self.allowed))
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    @property
    def text(self) -> str:
        """The input of `nft -f`."""
        clients = ""
        for name, version in _FAMILIES:
            members = networks.of_version(self.allowed, version)
            clients += _CLIENTS % (name, _listed(members)) if members else ""
        return MANAGED + _ANEW + _TABLE.replace("@ports@", _listed(self.ports)).replace("@clients@", clients)


def read(text: str) -> Optional[Firewall]:
    """Return the rules in a file or in the output of `nft list table`; None where they are not as `text` writes them.

    Args:
        text: of the file, or what nft prints.
    """
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = _SHAPE.fullmatch(" ".join(" ".join(lines).split()))
    if not found:
        return None
    try:
        ports = sorted({port for one in _members(found.group("ports")) for port in _ports(one)})
        members = [one for name, _version in _FAMILIES for one in _members(found.group(name) or "")]
        return Firewall(tuple(ports), networks.canonical(one for member in members for one in _networks(member)))
    except (ValueError, TypeError):  # TypeError: a range from an address of IPv4 to one of IPv6
        return None


def _listed(members: Iterable[Any]) -> str:
    return "{ %s }" % ", ".join(map(str, members))


def _members(listed: str) -> Iterator[str]:
    """The elements of a set, or the one value that nft prints for a set with one."""
    return (one.strip() for one in listed.strip("{} ").split(",") if one.strip())


def _ports(member: str) -> Iterable[int]:
    first, _dash, last = member.partition("-")
    bounds = int(first), int(last or first)
    if not 0 <= bounds[0] <= bounds[1] <= _LAST_PORT:
        raise ValueError(member)
    return range(bounds[0], bounds[1] + 1)


def _networks(member: str) -> Iterable[str]:
    """A network, or those that a range of addresses consists of."""
    first, dash, last = member.partition("-")
    if not dash:
        return [member]
    ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
    return [str(one) for one in ipaddress.summarize_address_range(*ends)]
