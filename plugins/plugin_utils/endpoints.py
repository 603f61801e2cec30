# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The endpoints of a whole fleet as one JSON document: which model, or alias, is served where. Pure."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import (
    Endpoint,
    EndpointsError,
    ServedModel,
    endpoints_of_entry,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import key_of

#: Goes up where a key of the document changes its meaning.
DOCUMENT_VERSION = 1


def document(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document of a fleet.

    Args:
        hosts: {name in the inventory: what changes.endpoints.plan_endpoints gave for its applied plan}.

    Returns:
        dict: `version`; `hosts`, as given; `models`: {name that clients use: see `_model_entry`}.

    Raises:
        EndpointsError: see changes.endpoints.endpoints_of_entry.
    """
    found = fleet(hosts)
    return {
        "version": DOCUMENT_VERSION,
        "hosts": {name: dict(hosts[name]) for name in sorted(hosts)},
        "models": {name: _model_entry(name, found) for name in model_names(found)},
    }


def fleet(hosts: Mapping[str, Mapping[str, Any]]) -> tuple[Endpoint, ...]:
    """Return the endpoints of hosts, in the order of their names.

    Args:
        hosts: as `document` takes them.

    Raises:
        EndpointsError: see changes.endpoints.endpoints_of_entry.
    """
    return tuple(endpoint for name in sorted(hosts) for endpoint in endpoints_of_entry(name, hosts[name]))


def hosts_of(content: Any) -> dict[str, dict[str, Any]]:
    """Return the `hosts` of a document that was read from a file.

    Raises:
        EndpointsError: it is no document, or one of a version that is not known.
    """
    if not isinstance(content, dict) or not isinstance(content.get("hosts"), dict):
        raise EndpointsError("It is not a file of endpoints: it has no hosts.")
    if content.get("version") != DOCUMENT_VERSION:
        raise EndpointsError(
            "It has the version %.20r, and this release of the collection reads version %d."
            % (content.get("version"), DOCUMENT_VERSION)
        )
    return content["hosts"]


def model_names(endpoints: Iterable[Endpoint]) -> list[str]:
    """Return every name that clients may use, once each, in order; Ollama matches them without case."""
    names: dict[str, str] = {}
    for endpoint in endpoints:
        for model in endpoint.models:
            for name in model.names:
                names.setdefault(key_of(name), name)
    return sorted(names.values())


def serving(name: str, endpoints: Iterable[Endpoint]) -> list[tuple[Endpoint, ServedModel]]:
    """Return the endpoints that serve a name, each with the model that a client gets there."""
    found = ((endpoint, endpoint.model(name)) for endpoint in endpoints)
    return [(endpoint, model) for endpoint, model in found if model is not None]


def _model_entry(name: str, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return what a client needs to know of a name.

    Returns:
        dict: `served_as`, the names of the models that are meant (several where hosts have an alias of other models);
        `replicas`; `slots` of all together; `context_length`, the smallest; `capabilities` that all of them have, null
        where one is not known; `endpoints[]` {host, instance, url, slots, context_length, host_only}.
    """
    found = serving(name, endpoints)
    contexts = [model.context_length for _endpoint, model in found if model.context_length is not None]
    return {
        "served_as": list(dict.fromkeys(model.name for _endpoint, model in found)),
        "replicas": len(found),
        "slots": sum(model.slots for _endpoint, model in found),
        "context_length": min(contexts, default=None),
        "capabilities": _shared([model.capabilities for _endpoint, model in found]),
        "endpoints": [
            {
                "host": endpoint.host,
                "instance": endpoint.instance,
                "url": endpoint.url,
                "slots": model.slots,
                "context_length": model.context_length,
                "host_only": endpoint.host_only,
            }
            for endpoint, model in found
        ],
    }


def _shared(capabilities: list[Optional[tuple[str, ...]]]) -> Optional[list[str]]:
    known = [one for one in capabilities if one is not None]
    if len(known) < len(capabilities):
        return None
    return [one for one in known[0] if all(one in others for others in known)]
