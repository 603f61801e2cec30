# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lists of networks, each "192.0.2.0/24" or an address, as users give them. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any, Iterable, Optional, Tuple, Union

from . import addresses

_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_MAPPED_BITS = 96


def listed(value: Any) -> Tuple[str, ...]:
    """Return the entries of a list, or of a text with commas as the command line gives it."""
    entries = value.split(",") if isinstance(value, str) else value or ()
    return tuple(str(entry).strip() for entry in entries if str(entry).strip())


def usable(value: Any) -> Tuple[str, ...]:
    """Return those entries of `listed` that are networks."""
    return tuple(entry for entry in listed(value) if not problem(entry))


def canonical(values: Iterable[str]) -> Tuple[str, ...]:
    """Return networks in their usual form, IPv4 first, sorted, each once and none that another one holds.

    IPv4 networks that IPv6 maps (::ffff:192.0.2.0/120) are IPv4 networks: that is what the kernel sees.

    Raises:
        ValueError: one is no network.
    """
    parsed = [_parsed(value) for value in values]
    of_4 = ipaddress.collapse_addresses(one for one in parsed if isinstance(one, ipaddress.IPv4Network))
    of_6 = ipaddress.collapse_addresses(one for one in parsed if isinstance(one, ipaddress.IPv6Network))
    return tuple(_text(one) for one in of_4) + tuple(_text(one) for one in of_6)


def of_version(values: Iterable[str], version: int) -> Tuple[str, ...]:
    """Return those networks that are of IPv4 or of IPv6, in their order.

    Args:
        values: of `canonical`.
        version: 4 or 6.
    """
    return tuple(value for value in values if ipaddress.ip_network(value).version == version)


def outside(values: Iterable[str], others: Iterable[str]) -> Tuple[str, ...]:
    """Return those networks that are not whole in others, in their order. Two halves hold a whole one.

    Args:
        values: networks.
        others: networks, in any form.
    """
    around = canonical(others)
    return tuple(value for value in values if canonical([*around, value]) != around)


def hold_everybody(values: Iterable[str]) -> bool:
    """Return whether networks together hold all addresses of IPv4 or of IPv6, also as halves."""
    return any(ipaddress.ip_network(value).prefixlen == 0 for value in canonical(values))


def any_of_a_link(values: Iterable[str]) -> bool:
    """Return whether one of the networks has addresses of a link only (169.254.0.0/16, fe80::/10)."""
    return any(ipaddress.ip_network(value).is_link_local for value in canonical(values))


def problem(value: str) -> Optional[str]:
    """Return what is wrong with the text of a network, as the end of a sentence; None where it is one."""
    try:
        _parsed(value)
    except ValueError:
        try:
            meant = _text(_parsed(value, strict=False))
        except ValueError:
            return "is neither an IP address nor a network such as 192.0.2.0/24"
        return "has a part for hosts: give %s for the network, or the address alone" % meant
    return None


def _parsed(value: str, strict: bool = True) -> _Network:
    if "%" in value:  # of one interface only, as in addresses.ip_address
        raise ValueError(value)
    network = ipaddress.ip_network(addresses.without_brackets(value), strict)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network("%s/%d" % (mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _text(network: _Network) -> str:
    """An address alone where the network has only one."""
    return str(network.network_address if network.num_addresses == 1 else network)
