# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""IP addresses, host names, ports and the addresses that are made of them. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Optional

HIGHEST_PORT = 65535

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# A host name; one that ends in a number is an IP address or a mistake.
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:%s\.)*(?=[0-9-]*[A-Za-z])%s\Z" % (_LABEL, _LABEL))
#: An address that stands for all of a host's, and the one by which programs on that host reach it.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def without_brackets(text: str) -> str:
    """Return an address without the brackets that IPv6 has in URLs: "::1" of "[::1]"."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text


def ip_address(text: str) -> Optional[str]:
    """Return an IP address in its usual form, without brackets; None where the text is none.

    An address that means something on one interface only (%) is none: it cannot be given to clients.
    """
    bare = without_brackets(text)
    if "%" in bare:
        return None
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


def host(text: Any) -> Optional[str]:
    """Return an IP address as `ip_address` does, or a host name; None where the text is neither."""
    stripped = text.strip() if isinstance(text, str) else ""
    return ip_address(stripped) or (stripped if _HOST_NAME.match(stripped) else None)


def as_reached(address: str) -> str:
    """Return the IP address that clients of an address use: IPv4 where IPv6 maps it (RFC 4291, 2.5.5.2), as
    ::ffff:127.0.0.1 is 127.0.0.1 to the kernel. Another text is returned as it is."""
    try:
        parsed = ipaddress.ip_address(without_brackets(address))
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def is_wildcard(address: str) -> bool:
    """Return whether an address stands for all addresses of a host."""
    return as_reached(address) in _LOOPBACK


def is_loopback(address: str) -> bool:
    """Return whether an address is that of the host itself for each host."""
    try:
        return ipaddress.ip_address(as_reached(address)).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def advertise_problem(address: Any, listening: str) -> Optional[str]:
    """Return why clients cannot be given an address; None where they can.

    Args:
        address: what is to be given to clients.
        listening: the address that the instances listen on.
    """
    found = host(address)
    if found is None:
        return "is neither an IP address nor a host name: give what clients use, without a port"
    if is_wildcard(found):
        return "stands for all addresses of a host: give one that clients use"
    if is_loopback(found) and not is_loopback(listening):
        return "is for each client the client itself: give an address of the host, or leave it out"
    return None


def answers(listening: str, address: str) -> bool:
    """Return whether a program that listens on an address gets the connections to another one.

    0.0.0.0 and :: are the same here: Go, and so Ollama, listens on both families for either of them (net,
    favoriteAddrFamily).
    """
    return as_reached(listening) == as_reached(address) or is_wildcard(listening)


def clash(address: str, other: str) -> bool:
    """Return whether two programs cannot listen on one port of these IP addresses."""
    return answers(address, other) or answers(other, address)


def is_port(value: Any) -> bool:
    """Return whether a number, or its text, is a port."""
    return bool(re.match(r"[0-9]+\Z", str(value))) and 1 <= int(value) <= HIGHEST_PORT


def host_and_port(address: str, port: int) -> str:
    """Return the text for OLLAMA_HOST; IPv6 addresses get brackets."""
    return "%s:%d" % ("[%s]" % address if ":" in address else address, port)


def url(address: str, port: int) -> str:
    """Return the address that clients on the host use; a wildcard becomes the loopback address."""
    return "http://" + host_and_port(_LOOPBACK.get(as_reached(address), address), port)
