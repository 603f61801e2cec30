# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Configurations of LiteLLM and nginx from the endpoints of a fleet, for those who run one of them already. Pure."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import (
    Endpoint,
    EndpointsError,
    ServedModel,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import DEFAULT_TAG
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import fleet, hosts_of, model_names, serving
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.maps import CALLS

#: Tried again on another deployment.
_RETRIES = 2
#: Seconds that an answer may be silent: a model that is loaded first, or a long prompt.
_SILENCE = 600
_NGINX_HEAD = """\
# From the endpoints of gpufleet.ollama, for the http block of nginx.
# nginx does not read the model of a request. So each instance below serves every name that is listed here, and a
# request for another one gets status 404 from one of them:
#   {names}
# It knows neither whether a model is loaded nor how many requests an instance answers at once, and asks for no key.
"""
_NGINX = """\
upstream {upstream} {{
    least_conn;
{servers}
    keepalive 32;
}}

server {{
    listen {listen};
    client_max_body_size 32m;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    # Ollama refuses names that it does not know, and pages of others.
    proxy_set_header Host localhost;
    proxy_set_header Origin "";
    # Words are passed on as they come.
    proxy_buffering off;
    proxy_connect_timeout 3s;
    proxy_read_timeout {silence}s;
    # A request that was sent is not sent again.
    proxy_next_upstream error timeout;

{locations}
    # Nothing that changes models.
    location / {{
        return 403;
    }}
}}
"""
_NGINX_LOCATION = """\
    location = {path} {{
        proxy_pass http://{upstream};
    }}
"""


def litellm_config(document: Mapping[str, Any], here: Optional[str] = None) -> dict[str, Any]:
    """Return the configuration of LiteLLM's proxy; `model_list` and `router_settings` are also arguments of its Router.

    Each instance that serves a name is a deployment of it, with as many requests at once as it has slots.

    Args:
        document: of the fleet, see endpoints.document.
        here: the host on which LiteLLM runs, where it is one of the GPU hosts.

    Raises:
        EndpointsError: it is no document of endpoints, or none of them can be reached.
    """
    found = _reached(document, here)
    names = model_names(found)
    return {
        "model_list": [
            _deployment(name, endpoint, model) for name in names for endpoint, model in serving(name, found)
        ],
        "router_settings": {
            "routing_strategy": "least-busy",
            "num_retries": _RETRIES,
            "model_group_alias": _without_tag(names),
        },
    }


def _deployment(name: str, endpoint: Endpoint, model: ServedModel) -> dict[str, Any]:
    capabilities = model.capabilities or ()
    is_embedding = "embedding" in capabilities and "completion" not in capabilities
    information: dict[str, Any] = {
        "id": "%s/%s/%s" % (endpoint.host, endpoint.instance, name),
        "mode": "embedding" if is_embedding else "chat",
    }
    if model.context_length is not None:
        information["max_input_tokens"] = model.context_length
    # What is not in the list may be there all the same: a template is not read for it.
    for capability, key in (("vision", "supports_vision"), ("tools", "supports_function_calling")):
        if capability in capabilities:
            information[key] = True
    return {
        "model_name": name,
        "litellm_params": {
            "model": "%s/%s" % ("ollama" if is_embedding else "ollama_chat", model.name),
            "api_base": endpoint.url,
            "max_parallel_requests": max(model.slots, 1),
        },
        "model_info": information,
    }


def _without_tag(names: Sequence[str]) -> dict[str, str]:
    """{name without its tag: name} of those with the tag that Ollama adds: LiteLLM compares names as they are."""
    ending = ":" + DEFAULT_TAG
    return {name[: -len(ending)]: name for name in names if name.endswith(ending)}


def nginx_config(
    document: Mapping[str, Any],
    model: Optional[str] = None,
    here: Optional[str] = None,
    listen: str = "127.0.0.1:11480",
) -> str:
    """Return a snippet for the http block of nginx, with one server in front of instances that serve the same.

    Args:
        document: of the fleet, see endpoints.document.
        model: a name that all instances behind it serve; None where all instances serve the same names.
        here: the host on which nginx runs, where it is one of the GPU hosts.
        listen: where it listens.

    Raises:
        EndpointsError: see `litellm_config`; nobody serves the model; instances differ and no model is given.
    """
    found = _reached(document, here)
    behind = [endpoint for endpoint, unused_model in serving(model, found)] if model is not None else list(found)
    if not behind:
        raise EndpointsError("Nobody serves %s; there are: %s." % (model, ", ".join(model_names(found))))
    shared = [name for name in model_names(behind) if len(serving(name, behind)) == len(behind)]
    if model is None and len(shared) < len(model_names(behind)):
        raise EndpointsError(
            "The instances serve different models, and nginx does not read which one a request asks for: give a model, "
            "and nginx gets the instances that serve it. There are: %s." % ", ".join(model_names(found))
        )
    upstream = "ollama_" + "".join(letter if letter.isalnum() else "_" for letter in (model or "fleet").lower())
    paths = dict.fromkeys(call.split(" ")[1] for call in CALLS)
    servers = ["    server %s max_fails=1 fail_timeout=5s;" % _place(endpoint) for endpoint in behind]
    return _NGINX_HEAD.format(names="\n#   ".join(shared)) + _NGINX.format(
        upstream=upstream,
        servers="\n".join(servers),
        listen=_listen(listen),
        silence=_SILENCE,
        locations="".join(_NGINX_LOCATION.format(path=path, upstream=upstream) for path in paths),
    )


def _place(endpoint: Endpoint) -> str:
    return addresses.host_and_port(endpoint.address, endpoint.port)


def _listen(text: str) -> str:
    """A place to listen on, which goes into the configuration as it is."""
    place, unused_colon, port = text.rpartition(":")
    found = addresses.ip_address(place)
    if found is None or not addresses.is_port(port):
        raise EndpointsError("%r is no place to listen on: give an IP address and a port, as 127.0.0.1:11480." % text)
    return addresses.host_and_port(found, int(port))


def _reached(document: Mapping[str, Any], here: Optional[str]) -> tuple[Endpoint, ...]:
    """The endpoints of a document that a program on a host reaches."""
    found = fleet(hosts_of(document))
    reached = tuple(endpoint for endpoint in found if not endpoint.host_only or endpoint.host == here)
    if found and not reached:
        raise EndpointsError(
            "All instances listen on addresses that only their own hosts reach: set ollama_multigpu_listen_address, or "
            "put a gateway in front (role ollama_gateway)."
        )
    if not reached:
        raise EndpointsError("No host serves a model.")
    return reached
