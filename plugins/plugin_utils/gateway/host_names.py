# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The names by which clients call a gateway, and by which its certificate is checked. Pure."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.lists import given_list
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

#: Names that certificates can have, also those of hosts in an inventory that the DNS would not have (gpu_1).
_CERTIFIED = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,252}\Z")
#: Almost an IP address, and so a mistake where a name is given.
_NUMBERS = re.compile(r"[0-9.]+\Z")


def certified(name: Any) -> bool:
    """Return whether a certificate can have a name. An IP address is none: HAProxy checks only names (verifyhost)."""
    return isinstance(name, str) and bool(_CERTIFIED.match(name)) and addresses.ip_address(name) is None


def host_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names, in lower case, by which clients may call the gateway; IP addresses are always among them.

    Args:
        settings: `host_names`; `host`, the name of the gateway's host in the inventory, and its `address`.

    Raises:
        GatewayError: no list, or one that is no host name.
    """
    given = given_list(settings, "host_names")
    wrong = [name for name in given if _known(name) is None or _NUMBERS.match(name) and not addresses.ip_address(name)]
    if wrong:
        raise GatewayError(
            "ollama_gateway_host_names has %r, which is no host name; give a name such as llm.example, without a port."
            % (wrong[0],)
        )
    names = (*given, "localhost", settings["host"], settings.get("address"))
    return tuple(sorted({known.lower() for known in map(_known, names) if known}))


def _known(name: Any) -> Optional[str]:
    """A host name or IP address in the form in which requests and certificates have it; None where it is neither."""
    return addresses.host(name) or (name if certified(name) else None)
