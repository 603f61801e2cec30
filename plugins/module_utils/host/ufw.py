# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""For which clients ufw has no rule, by its files alone: nothing is run for it, so that each check can look."""

from __future__ import annotations

import os
import re
from typing import Iterator, Optional, Sequence, Tuple

from ..common import networks, openings, paths
from ..common.openings import Opening
from ..common.regular import read_regular
from . import firewall_managers

#: A rule that lets TCP in, for whomever (ufw's backend_iptables.py: action, protocol, destination port and address,
#: source port and address, direction).
_LETS_IN = re.compile(
    r"(?m)^### tuple ### (?:allow|limit)\S* (?:tcp|any) (?P<ports>[0-9:,]+|any) \S+ \S+ (?P<network>\S+)"
    r"(?!.* out(?:_\S+)?(?: comment=\S*)?[ \t]*$)"
)
#: ufw refuses what no rule lets in, unless its policy is another one.
_REFUSE = ("drop", "reject")
#: A line of a file that ufw does not manage itself which may let TCP in, beside those that ufw 0.36.2 brings along. A
#: chain of the administrator may be one for what comes in.
_OTHERWISE = re.compile(
    r"(?mi)^-[AI] (?!\S*(?:output|forward|routing) )(?!.* (?:-i lo|--(?:ct)?state RELATED,ESTABLISHED|-p (?:udp|icmp|"
    r"icmpv6|ipv6-icmp)) ).* (?:-j|--jump|-g|--goto) ACCEPT\b"
)
_AROUND = ("before", "after")
#: What the names of the files of a version of IP end with.
_SIDES = {4: "", 6: "6"}
_ALL_PORTS = "1-65535"


def kept_out(allowed: Sequence[str], ports: Sequence[int], root: str = "/") -> Optional[Tuple[Opening, ...]]:
    """Return who has no rule of ufw, for which ports; None where ufw is off, or where its files do not tell.

    A rule of others that lets clients in counts like one of the collection. So does one that keeps the collection from
    opening anything: what others refuse is no fault. Whether ufw's service runs does not matter: at the next boot it
    does.

    Args:
        allowed: networks whose hosts should be able to connect, as networks.canonical writes them.
        ports: of the instances.
        root: / except in tests.

    Raises:
        OSError: A file cannot be read, such as by a user that is not root.
    """
    active = [one for one in firewall_managers.places_of_ufw(root) if one.active]
    if not active or firewall_managers.settings_of_ufw(root).get("DEFAULT_INPUT_POLICY") not in _REFUSE:
        return None
    # ufw runs these two if they are executable (ufw-init-functions), and they may add any rule.
    if any(os.access(paths.below(root, "/etc/ufw/%s.init" % name), os.X_OK) for name in _AROUND):
        return None
    place = active[0]
    sides = [_SIDES[version] for version in place.opens]
    around = [_text(root, "/etc/ufw/%s%s.rules" % (name, side)) for name in _AROUND for side in sides]
    if any(_OTHERWISE.search(text) for text in around):
        return None
    written = [_text(root, firewall_managers.RULES_OF_UFW[version]) for version in place.opens]
    let_in = [one for text in written for one in _let_in(text)]
    wanted = [network for version in place.opens for network in networks.of_version(allowed, version)]
    return tuple(openings.shut_out([*let_in, *place.held], wanted, ports))


def _let_in(text: str) -> Iterator[Opening]:
    for found in _LETS_IN.finditer(text):
        try:
            (network,) = networks.canonical([found["network"]])
        except ValueError:
            continue
        for span in found["ports"].split(","):
            yield Opening(network, _ALL_PORTS if span == "any" else span.replace(":", "-"))


def _text(root: str, path: str) -> str:
    try:
        return read_regular(paths.below(root, path)).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
