# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An address that gateways share: one of them has it, by VRRP (RFC 5798). Text of keepalived.conf. Pure.

Options are those of keepalived.conf(5) of keepalived 2.2.7.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Any, Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.lists import (
    checked_list,
    checked_mapping,
    given_mapping,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

#: Of the first host; each host after it has one less. 255 is for the owner of an address (RFC 5798, 5.2.4).
HIGHEST_PRIORITY = 254
HIGHEST_ROUTER_ID = 255
#: Names of interfaces: up to 15 characters (Linux, IFNAMSIZ), without those that mean something in keepalived.conf.
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")

# No authentication: that of VRRP is a password in clear text, which RFC 5798 (9) has taken out for that reason.
# No preemption: where the address goes back to a host that works again, what is being answered breaks off once more.
_TEXT = """\
global_defs {
    enable_script_security
}

vrrp_script gateway {
    script "/usr/bin/python3 @check@ @socket@"
    interval 1
    timeout 3
    fall 2
    rise 2
    user haproxy haproxy
}

vrrp_instance ollama_gateway {
    state BACKUP
    nopreempt
    interface @interface@
    virtual_router_id @router_id@
    priority @priority@
    advert_int 1
    unicast_src_ip @own@
    unicast_peer {
@peers@
    }
    check_unicast_src
    virtual_ipaddress {
        @address@ dev @interface@
    }
    track_script {
        gateway
    }
}
"""


@dataclasses.dataclass(frozen=True)
class VirtualAddress:
    """An address that one of several gateways has.

    Attributes:
        address: IP address with the length of its prefix, "192.0.2.10/24".
        interface: of the host, on which it has the address.
        router_id: 1 to 255, by which VRRP tells shared addresses apart.
        own: IP address of the host.
        peers: those of the other hosts.
        priority: of the host; the highest gets the address where all begin at once.
    """

    address: str
    interface: str
    router_id: int
    own: str
    peers: tuple[str, ...]
    priority: int

    @property
    def ip(self) -> str:
        """The address as clients use it."""
        return self.address.partition("/")[0]


def virtual_address(settings: Mapping[str, Any]) -> Optional[VirtualAddress]:
    """Return the address that the gateway of a host shares; None where it shares none.

    Args:
        settings: the variables of the role by their names without "ollama_gateway_"; `host`, the name of the gateway's
            host in the inventory; `virtual_hosts`, those that share the address; `virtual_host_addresses`, by which
            the inventory knows them.

    Raises:
        GatewayError: an entry of ollama_gateway_virtual_address that makes no shared address.
    """
    given = given_mapping(settings, "virtual_address")
    if not given:
        return None
    address = _interface_address(given.get("address"))
    hosts = checked_list(settings["virtual_hosts"], _problem("hosts", settings["virtual_hosts"]), "[front1, front2]")
    hosts = list(dict.fromkeys(map(str, hosts)))
    if settings["host"] not in hosts or not 2 <= len(hosts) <= HIGHEST_PRIORITY:
        words = "has %s; give the names of two to %d hosts, %s among them"
        raise _error("hosts", words % (", ".join(hosts) or "none", HIGHEST_PRIORITY, settings["host"]))
    _check_listen_address(settings["listen_address"], address)
    addresses_of = given.get("addresses")
    addresses_of = checked_mapping(addresses_of, _problem("addresses", addresses_of), "{front1: 192.0.2.1}")
    known = {**settings["virtual_host_addresses"], **addresses_of}
    found = {host: _host_address(host, known.get(host) or host, address) for host in hosts}
    own = found.pop(settings["host"])
    return VirtualAddress(
        address=str(address),
        interface=_interface(given.get("interface")),
        router_id=_router_id(given.get("router_id", 51)),
        own=own,
        peers=tuple(found.values()),
        priority=HIGHEST_PRIORITY - hosts.index(settings["host"]),
    )


def keepalived(shared: VirtualAddress, check: str, socket: str) -> str:
    """Return the text of keepalived.conf.

    Args:
        shared: what it says.
        check: path, on the host, of the program that tells whether its gateway works.
        socket: path, on the host, of the socket for administration of its gateway.
    """
    values = {
        "check": check,
        "socket": socket,
        "interface": shared.interface,
        "router_id": str(shared.router_id),
        "priority": str(shared.priority),
        "own": shared.own,
        "peers": "\n".join("        " + peer for peer in shared.peers),
        "address": shared.address,
    }
    return re.sub(r"@(\w+)@", lambda found: values[found.group(1)], _TEXT)


def _problem(name: str, value: Any) -> str:
    return "ollama_gateway_virtual_address: %s is %r" % (name, value)


def _error(name: str, words: str) -> GatewayError:
    return GatewayError("ollama_gateway_virtual_address: %s %s." % (name, words))


def _interface_address(text: Any) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """The address with the length of its prefix; without one it stands alone."""
    try:
        found = ipaddress.ip_interface(str(text).strip())
    except ValueError:
        found = None
    ip = found.ip if found else None
    if ip is None or ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local:
        raise _error("address", "is %r; give an IP address that no host has, like 192.0.2.10/24" % (text,))
    return found


def _interface(text: Any) -> str:
    if not isinstance(text, str) or not _INTERFACE.match(text):
        raise _error("interface", "is %r; give the name of the interface that gets the address, like eth0" % (text,))
    return text


def _router_id(value: Any) -> int:
    if isinstance(value, bool) or not re.match(r"[0-9]{1,3}\Z", str(value)) or not 1 <= int(value) <= HIGHEST_ROUTER_ID:
        raise _error("router_id", "is %r; give a number from 1 to %d" % (value, HIGHEST_ROUTER_ID))
    return int(value)


def _check_listen_address(text: Any, address: Any) -> None:
    """The address comes and goes while the gateway runs, so it has to listen on all."""
    needed = ("::",) if address.version == 6 else ("0.0.0.0", "::")
    if addresses.ip_address(str(text).strip()) not in needed:
        raise GatewayError(
            "The gateway shares %s and listens on %s; set ollama_gateway_listen_address to %s."
            % (address.ip, text, needed[0])
        )


def _host_address(host: str, text: Any, address: Any) -> str:
    """The address by which the other hosts reach one, of the kind that they share (RFC 5798, 5.1.1)."""
    found = addresses.ip_address(str(text).strip())
    if found is None or ipaddress.ip_address(found).version != address.version:
        words = "has no IPv%d address of %s, whose address in the inventory is %s; give one"
        raise _error("addresses", words % (address.version, host, text))
    if found == str(address.ip):
        raise _error("address", "is %s, which %s has itself; give one that no host has" % (found, host))
    return found
