# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The second level: a gateway for a fleet, whose servers are the gateways of the GPU hosts. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Mapping, Optional, Sequence

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import Endpoint, ServedModel
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import key_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.backends import backends as of_endpoints
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.host_names import certified
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import Backend, GatewayError, Tls

#: Name of the only "instance" that a host has for the gateway of a fleet.
INSTANCE = "gateway"


@dataclasses.dataclass(frozen=True)
class Upstream:
    """How the gateways of the hosts are reached.

    Attributes:
        port: of all of them.
        addresses: {host: address}.
        ca_file: path, on the host of the fleet's gateway, of what their certificates are checked against; None = they
            speak plain HTTP.
    """

    port: int
    addresses: Mapping[str, str]
    ca_file: Optional[str]


def upstream(given: Mapping[str, Any]) -> Upstream:
    """Return how the gateways of the hosts are reached.

    Args:
        given: ollama_gateway_upstream, with `addresses` and `ca_file` added.

    Raises:
        GatewayError: a port or an address that is none.
    """
    if not addresses.is_port(given.get("port")):
        raise GatewayError("ollama_gateway_upstream has the port %r; give that of the gateways." % (given.get("port"),))
    found = {host: addresses.host(address or host) for host, address in given["addresses"].items()}
    wrong = sorted(host for host, address in found.items() if address is None)
    if wrong:
        raise GatewayError(
            "The address %r of the host %s is none: set addresses in ollama_gateway_upstream."
            % (given["addresses"][wrong[0]], wrong[0])
        )
    return Upstream(int(given["port"]), {host: str(address) for host, address in found.items()}, given.get("ca_file"))


def backends(
    endpoints: Sequence[Endpoint], reached: Upstream, drained: Iterable[str], weights: Any
) -> tuple[Backend, ...]:
    """Return the backends of a gateway for a fleet: a server for each host.

    Raises:
        GatewayError: see backends.backends; also a host whose certificate cannot be checked by its name.
    """
    hosts = dict.fromkeys(endpoint.host for endpoint in endpoints)
    together = [_host(host, [one for one in endpoints if one.host == host], reached) for host in hosts]
    found = tuple(map(_asked, of_endpoints(together, None, drained, weights)))
    if reached.ca_file is None:
        return found
    for host in sorted(hosts):
        _check_name(host)
    return tuple(
        dataclasses.replace(
            backend,
            servers=tuple(
                dataclasses.replace(server, tls=Tls(str(reached.ca_file), server.host)) for server in backend.servers
            ),
        )
        for backend in found
    )


def _check_name(host: str) -> None:
    """Refuse a host whose certificate cannot be checked by its name."""
    if addresses.ip_address(host):
        raise GatewayError(
            "The GPU host %s is named by its IP address, which HAProxy does not look for in a certificate: give it a "
            "name in the inventory, with ansible_host: %s." % (host, host)
        )
    if not certified(host):
        raise GatewayError(
            "The GPU host %r cannot be named in a certificate: rename it in the inventory, with letters, digits, '_', "
            "'.' and '-' only, and not '-' first." % host
        )


def _asked(backend: Backend) -> Backend:
    """A backend whose checks look for its own names: the gateway of a host lists each name that a server answers."""
    keys = {key_of(name) for name in backend.models}
    servers = (
        dataclasses.replace(server, loaded_as=tuple(name for name in server.loaded_as if key_of(name) in keys))
        for server in backend.servers
    )
    return dataclasses.replace(backend, servers=tuple(servers))


def _host(host: str, endpoints: Sequence[Endpoint], reached: Upstream) -> Endpoint:
    """One endpoint for all instances of a host: a model has the slots of all of them."""
    models: dict[str, ServedModel] = {}
    for model in (model for endpoint in endpoints for model in endpoint.models):
        before = models.get(key_of(model.name))
        models[key_of(model.name)] = (
            model
            if before is None
            else dataclasses.replace(
                before,
                names=tuple(dict.fromkeys((*before.names, *model.names))),
                slots=before.slots + model.slots,
                resident=before.resident and model.resident,
            )
        )
    address = reached.addresses.get(host)
    if address is None:
        raise GatewayError("ollama_gateway_upstream has no address of the host %s." % host)
    return Endpoint(host, INSTANCE, address, address, reached.port, tuple(models.values()))
