# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whom a host tries to reach: rules of nftables in the host's own network write down every destination, and let nobody
be reached but those who are told."""

from __future__ import annotations

import json
from typing import Callable, Iterable

#: Where the host asks for names, and where those are that Ollama and its installer know. Nobody is there (RFC 5737).
NAMES = ("192.0.2.53", "udp", 53)
OLLAMA_COM = ("192.0.2.10", "tcp", 443)
_KNOWN = ("ollama.com", "www.ollama.com", "registry.ollama.ai", "github.com", "huggingface.co")
#: Packets that begin something: the first of TCP, all of UDP and of what else has ports. What answers others, and what
#: the kernel tells its neighbours (ICMP 1, IGMP 2, ICMPv6 58), is neither. A rig host knows no names of protocols.
_RULES = """
table inet outgoing {
    set v4 { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; }
    set v6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 65535; }
    chain output {
        type filter hook output priority -10; policy accept;
        oifname "lo" accept
        tcp flags & (fin | syn | rst | ack) == syn jump attempt
        meta l4proto != { 1, 2, 6, 58 } jump attempt
    }
    chain attempt {
        update @v4 { ip daddr . meta l4proto . th dport }
        update @v6 { ip6 daddr . meta l4proto . th dport }
%s        reject
    }
}
"""
_PROTOCOLS = {"6": "tcp", "17": "udp"}
_TOLD = "\t\tip daddr %s tcp dport %d accept\n"


def watch(run: Callable[..., str], told: Iterable[tuple[str, str, int]]) -> None:
    """Write down from now on whom a host tries to reach.

    Args:
        run: runs a command on the host: run(*command, stdin=bytes).
        told: (IPv4 address, "tcp", port) of those that may be reached.
    """
    hosts = "".join("%s %s\\n" % (OLLAMA_COM[0], name) for name in _KNOWN)
    run("sh", "-c", "printf '%s' >> /etc/hosts; echo nameserver %s > /etc/resolv.conf" % (hosts, NAMES[0]))
    rules = _RULES % "".join(_TOLD % (address, port) for address, unused, port in told)
    run("nft", "-f", "-", stdin=rules.encode())


def attempts(run: Callable[..., str]) -> set[tuple[str, str, int]]:
    """Return whom the host has tried to reach since `watch`: {(address, protocol, port)}."""
    found = set()
    for name in ("v4", "v6"):
        text = run("nft", "-j", "list", "set", "inet", "outgoing", name)
        listed = next(entry["set"] for entry in json.loads(text)["nftables"] if "set" in entry)
        for entry in listed.get("elem", []):
            address, protocol, port = entry["concat"]
            found.add((address, _PROTOCOLS.get(str(protocol), str(protocol)), int(port)))
    return found
