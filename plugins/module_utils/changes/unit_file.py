# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Text of the systemd template unit ollama@.service, which runs every instance. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Sequence

from ..common import addresses, exposure, hardening, networks, paths
from ..common.managed import MANAGED

_TEXT = """\
[Unit]
Description=Ollama on the GPUs of %i
Documentation=https://github.com/gpufleet/ollama
Wants=network-online.target @firewall@ @gpus@ @ready@
After=network-online.target nvidia-persistenced.service @firewall@ @gpus@

[Service]
Type=exec
User=@user@
Group=@user@
# Ollama's key and the driver's cache lie in the home. No other place on the host can be written by the service.
Environment=HOME=@stores@/%i
EnvironmentFile=@environment@/%i.env
@guard@ExecStart=@program@ serve
Restart=always
RestartSec=3
# The engine is a child that holds the GPUs' memory: it must not outlive the server.
KillMode=control-group
TimeoutStopSec=60
UMask=0077
LimitCORE=0
LimitMEMLOCK=infinity
@sandbox@
[Install]
WantedBy=multi-user.target
"""
#: Runs as root and without the sandbox (+). The file with the current rules is written before an instance is switched.
_GUARD = """\
# Load the firewall rules before each start. If this fails, the instance does not start and stays closed.
ExecStartPre=+@nft@ -f @rules@
"""
_LINK_LOCAL = "link-local"
_LOOPBACK = ("127.0.0.0/8", "::1")


@dataclass(frozen=True)
class Sandbox:
    """What the role's variables say about the protection of the instances.

    Attributes:
        level: one of hardening.LEVELS.
        listen_address: where the instances listen.
        peers: networks (common/networks.py) with which alone the instances exchange anything; () for all.
        devices: further devices that the instances may use, for hardening.more_devices.
        guarded: whether rules of the host (firewall.py) say who may connect.
        clients: networks that these rules let through.
    """

    level: str = hardening.STRICT
    listen_address: str = "127.0.0.1"
    peers: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    guarded: bool = False
    clients: tuple[str, ...] = ()


_SANDBOX = Sandbox()


def unit_text(
    models_dir: str, sandbox: Sandbox = _SANDBOX, real_models_dir: str = "", real_homes: Sequence[str] = ()
) -> str:
    """Return the text of ollama@.service for instances whose stores are below a models directory.

    Args:
        models_dir: as the plan has it.
        sandbox: how the instances are protected.
        real_models_dir: where it leads, without links; "" for itself.
        real_homes: where the homes of users lead, for hardening.homes.
    """
    named, real = [paths.stores(one) + "/%i" for one in (models_dir, real_models_dir or models_dir)]
    text = MANAGED + _TEXT
    for name, value in (
        ("guard", _GUARD if sandbox.guarded else ""),
        ("nft", paths.NFT),
        ("rules", paths.FIREWALL_RULES),
        ("sandbox", _sandbox_lines(sandbox, hardening.homes(real, named, real_homes))),
        ("user", paths.USER),
        ("gpus", paths.GPUS_UNIT),
        ("firewall", paths.FIREWALL_UNIT),
        ("ready", paths.ready_unit("%i")),
        ("environment", paths.ENVIRONMENT_DIRECTORY),
        ("program", paths.server("%i")),
        ("stores", paths.stores(models_dir)),
    ):
        text = text.replace("@%s@" % name, value)
    return text


def client_problems(listen_address: Any, allow_from: Any, peers: Any) -> list[str]:
    """Return one sentence for each client that the rules of a host let through and the unit keeps out.

    Args:
        listen_address: where the instances listen, as these three are in the role's variables.
        allow_from: who may connect.
        peers: with whom alone the instances exchange anything; empty for all.
    """
    sandbox = Sandbox(listen_address=str(listen_address or ""), peers=networks.usable(peers))
    if not sandbox.peers or exposure.of_address(sandbox.listen_address) is None:
        return []
    return [
        "ollama_multigpu_allow_from has %s, which ollama_multigpu_peers does not: add it there." % client
        for client in networks.outside(networks.usable(allow_from), _heard(sandbox))
    ]


def _sandbox_lines(sandbox: Sandbox, homes: str) -> str:
    """The lines of a level of protection, with an empty line before and after them."""
    if sandbox.level == hardening.OFF:
        return "# ollama_multigpu_sandbox is off.\n" + (_network(sandbox) if sandbox.peers else "")
    lines = "\n" + hardening.HARDENING + homes
    lines += "ReadWritePaths=@stores@/%i\n" + _network(sandbox)
    if sandbox.level == hardening.STRICT:
        return lines + hardening.SYSTEM_CALLS + hardening.GPU_DEVICES + hardening.more_devices(sandbox.devices)
    return lines + hardening.OTHER_SYSTEM_CALLS


def _network(sandbox: Sandbox) -> str:
    """The lines of addresses with which an instance exchanges something or nothing.

    Without a list of peers nothing is exchanged with what every host of a link hears, and, unless the instance listens
    there or a client is there, with addresses of a link, where clouds answer with a host's credentials. With one, only
    its peers and the host itself are heard. (systemd.resource-control(5): IPAddressAllow goes first.)
    """
    if sandbox.peers:
        return "IPAddressAllow=%s\nIPAddressDeny=any\n" % " ".join(_heard(sandbox))
    address = addresses.ip_address(sandbox.listen_address)
    listens = address is not None and ipaddress.ip_address(addresses.as_reached(address)).is_link_local
    # A client at the other end of a cable has such an address. The whole link is opened and not the client alone, so
    # that another client there needs no other unit and no restart: the rules of the host say who may connect.
    opened = listens or networks.any_of_a_link(sandbox.clients)
    return "IPAddressDeny=%s\n" % " ".join(([] if opened else [_LINK_LOCAL]) + ["multicast"])


def _heard(sandbox: Sandbox) -> tuple[str, ...]:
    """The networks that are heard where there is a list of peers."""
    address = addresses.ip_address(sandbox.listen_address)
    own = [] if address is None or addresses.is_wildcard(address) else [address]
    return networks.canonical([*_LOOPBACK, *own, *sandbox.peers])
