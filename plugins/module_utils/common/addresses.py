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
# 0.0.0.0 as IPv6 writes it; Python 3.13 has the second form.
_LOOPBACK.update({"::ffff:0:0": "127.0.0.1", "::ffff:0.0.0.0": "127.0.0.1"})


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


def is_wildcard(address: str) -> bool:
    """Return whether an address stands for all addresses of a host."""
    return address in _LOOPBACK


def clash(address: str, other: str) -> bool:
    """Return whether two programs cannot listen on one port of these IP addresses."""
    return address == other or is_wildcard(address) or is_wildcard(other)


def is_port(value: Any) -> bool:
    """Return whether a number, or its text, is a port."""
    return bool(re.match(r"[0-9]+\Z", str(value))) and 1 <= int(value) <= HIGHEST_PORT


def host_and_port(address: str, port: int) -> str:
    """Return the text for OLLAMA_HOST; IPv6 addresses get brackets."""
    return "%s:%d" % ("[%s]" % address if ":" in address else address, port)


def url(address: str, port: int) -> str:
    """Return the address that clients on the host use; a wildcard becomes the loopback address."""
    return "http://" + host_and_port(_LOOPBACK.get(address, address), port)
