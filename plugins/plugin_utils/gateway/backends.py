# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Backends of a gateway from the endpoints of applied plans: one for each set of servers with the same models. Pure."""

from __future__ import annotations

import re
from typing import Any, Iterable, Optional, Sequence

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import Endpoint, ServedModel
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import (
    DEFAULT_HOST,
    DEFAULT_NAMESPACE,
    DEFAULT_TAG,
    parse,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import model_names, serving
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import Backend, GatewayError, Server
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.weights import WEIGHT, Weights

_ODD = re.compile(r"[^A-Za-z0-9_.:-]")


def spellings(name: str) -> tuple[str, ...]:
    """Return every text, in lower case, by which Ollama understands a name.

    Ollama fills in host, namespace and tag (types/model/name.go: ParseName, Merge) and compares without case
    (server/routes.go: getExistingName). A scheme before the host is left out: no client sends one.
    """
    parsed = parse(name)
    ends = ["%s:%s" % (parsed.model, parsed.tag)]
    if parsed.tag.lower() == DEFAULT_TAG:
        ends.append(parsed.model)
    starts = ["%s/%s/" % (parsed.host, parsed.namespace)]
    if parsed.host.lower() == DEFAULT_HOST:
        starts.append("%s/" % parsed.namespace)
        if parsed.namespace.lower() == DEFAULT_NAMESPACE:
            starts.append("")
    return tuple(sorted((start + end).lower() for start in starts for end in ends))


def backends(
    endpoints: Sequence[Endpoint], here: Optional[str], drained: Iterable[str] = (), weights: Any = None
) -> tuple[Backend, ...]:
    """Return the backends for endpoints, in the order of their names.

    Args:
        endpoints: of all hosts that the gateway serves.
        here: name of the gateway's host in the inventory; None where addresses are taken as they are.
        drained: hosts, instances ("gpu0") or both ("a/gpu0") that get no new requests.
        weights: {alias: {model: weight}}, see weights.Weights, where an alias stands for other models on other hosts.

    Raises:
        GatewayError: an instance that cannot be reached from the gateway, weights of another form, or a drained one or
            a weight of something that there is not.
    """
    drained, names = tuple(drained), model_names(endpoints)
    _check_drained(drained, endpoints)
    given = Weights(weights or {}, names)
    found: dict[tuple[Server, ...], list[str]] = {}
    for name in names:
        servers = _servers(name, serving(name, endpoints), here, drained, given)
        found.setdefault(servers, []).append(name)
    return tuple(_backend(servers, same, endpoints) for servers, same in found.items())


def _servers(
    name: str,
    found: Sequence[tuple[Endpoint, ServedModel]],
    here: Optional[str],
    drained: Sequence[str],
    given: Weights,
) -> tuple[Server, ...]:
    weights = given.of(name, [model for _endpoint, model in found])
    return tuple(
        Server(
            name=server_name(endpoint.host, endpoint.instance),
            host=endpoint.host,
            instance=endpoint.instance,
            address=_address(endpoint, here),
            port=endpoint.port,
            slots=max(model.slots, 1),
            weight=0 if is_drained(endpoint, drained) else weights.get(model.name, WEIGHT),
            loaded_as=model.names,
            resident=model.resident,
        )
        for endpoint, model in found
    )


def _backend(servers: tuple[Server, ...], names: Sequence[str], endpoints: Sequence[Endpoint]) -> Backend:
    models = [model for _endpoint, model in serving(names[0], endpoints)]
    served = tuple(dict.fromkeys(model.name for model in models))
    contexts = [model.context_length for model in models if model.context_length is not None]
    known = [model.capabilities for model in models if model.capabilities is not None]
    return Backend(
        name=backend_name(served[0] if len(served) == 1 and served[0] in names else names[0]),
        models=tuple(names),
        servers=servers,
        served_as=served,
        context_length=min(contexts, default=None),
        capabilities=tuple(one for one in known[0] if all(one in others for others in known))
        if known and len(known) == len(models)
        else None,
        example=models[0],
    )


def backend_name(name: str) -> str:
    """Return the name of the backend of a model: letters that HAProxy takes, one for each model."""
    parsed = parse(name)
    return "model_" + _ODD.sub("_", str(parsed).lower().replace("_", "__").replace("/", "_-"))


def server_name(host: str, instance: str) -> str:
    """Return the name of a server."""
    return _ODD.sub("_", "%s_%s" % (host, instance))


def is_drained(endpoint: Endpoint, drained: Iterable[str]) -> bool:
    """Return whether an endpoint gets no new requests."""
    return any(one in _words_of(endpoint) for one in drained)


def _words_of(endpoint: Endpoint) -> tuple[str, ...]:
    return (endpoint.host, endpoint.instance, "%s/%s" % (endpoint.host, endpoint.instance))


def _check_drained(drained: Iterable[str], endpoints: Sequence[Endpoint]) -> None:
    words = [word for endpoint in endpoints for word in _words_of(endpoint)]
    unknown = [one for one in drained if one not in words]
    if unknown:
        raise GatewayError(
            "ollama_gateway_drain has %s, which is neither a host nor an instance that the gateway serves; an "
            "instance of one host is named like %s."
            % (", ".join(map(str, unknown)), words[2] if words else "host/gpu0")
        )


def _address(endpoint: Endpoint, here: Optional[str]) -> str:
    """The address of an endpoint for a gateway on a host."""
    if here is None:
        return endpoint.address
    if endpoint.host == here:
        if addresses.is_wildcard(endpoint.listen_address):
            return "::1" if ":" in endpoint.listen_address else "127.0.0.1"
        return endpoint.listen_address
    if endpoint.host_only:
        raise GatewayError(
            "The instance %s of %s listens on %s, which no other host reaches: put a gateway on it, or set "
            "ollama_multigpu_listen_address there." % (endpoint.instance, endpoint.host, endpoint.address)
        )
    return endpoint.address
