# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Settings that open a service, or what it is asked, to others: refused unless acknowledged by name. Pure.

Sources: Ollama's envconfig/config.go (AllowedOrigins, NoCloud, DebugLogRequests) and gin-contrib/cors, which takes "*"
in an origin for any text.
"""

from __future__ import annotations

import re
from typing import Any, Optional, Sequence

from . import addresses, networks

#: Name under which an address that others than listed clients reach is acknowledged.
LISTEN_ADDRESS = "listen_address"
_NO_CLOUD = "OLLAMA_NO_CLOUD"
_LOG_REQUESTS = "OLLAMA_DEBUG_LOG_REQUESTS"
_ORIGINS = "OLLAMA_ORIGINS"
#: All names that can be acknowledged.
NAMES = (LISTEN_ADDRESS, _ORIGINS, _NO_CLOUD, _LOG_REQUESTS)

# Any host of the web: *, https://*, http*, http://*:8080. Ollama itself allows programs of the machine (app://*).
_ANY_ORIGIN = re.compile(r"(https?:?/{0,2}|\*://)?\*(:[0-9*]*)?/?\Z", re.IGNORECASE)


def acknowledged(value: Any) -> tuple[str, ...]:
    """Return the names that the user acknowledges: of a list, or of a text with commas as the command line gives it."""
    listed = value.split(",") if isinstance(value, str) else value or ()
    return tuple(str(name).strip() for name in listed if str(name).strip())


def of_address(listen_address: str, allowed: Sequence[str] = ()) -> Optional[str]:
    """Return what an address opens, as the end of a sentence; None where only the host itself, or listed clients, get
    through.

    Args:
        listen_address: where the instances listen; another text than an IP address opens nothing.
        allowed: networks whose hosts alone may connect, () for all.
    """
    address = addresses.ip_address(listen_address)
    if address is None or addresses.is_loopback(address):
        return None
    if allowed and not networks.hold_everybody(allowed):
        return None
    where = "every network of the host" if addresses.is_wildcard(address) else "the network of this address"
    return "opens Ollama, which has no authentication, on " + where


def of_variable(name: str, value: str) -> Optional[str]:
    """Return what a service variable opens with this value, as the end of a sentence; None where it opens nothing.

    Args:
        name: the variable.
        value: its value as the service gets it: 1 or 0 for a switch.
    """
    text = value.strip().strip("\"'")  # as Ollama reads it
    if name == _ORIGINS and any(_ANY_ORIGIN.match(origin.strip()) for origin in text.split(",")):
        return "lets every web page that somebody opens use the models"
    if name == _NO_CLOUD and text == "0":
        return "lets Ollama send requests to its cloud"
    if name == _LOG_REQUESTS and text == "1":
        return "writes every request, with what the users ask, into files on the host"
    return None
