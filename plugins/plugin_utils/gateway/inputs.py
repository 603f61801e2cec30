# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From the variables of the role ollama_gateway, and what GPU hosts say of their endpoints, to a gateway. Pure.

What comes from a host is data: names, addresses and ports are read by their grammars, and nothing else of it gets into
a file of the gateway.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Mapping, Optional, Sequence

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import Endpoint, EndpointsError
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName, key_of, parse
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import fleet
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import through
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.backends import backends
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.host_names import host_names
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.lists import (
    checked_list,
    given_list,
    given_mapping,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import (
    Backend,
    Gateway,
    GatewayError,
    Key,
    Limits,
)

DIRECTORY = "/etc/ollama-gateway"
SOCKET = "/run/ollama-gateway/admin.sock"
#: What can be acknowledged: a gateway beyond loopback without keys, and one without TLS.
ACKNOWLEDGED = ("keys", "tls")
_KEY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.:\[\]-]+\Z")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}\Z")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}\Z")  # RFC 6750, 2.1
_SHORTEST_KEY = 16
#: Bytes of a request where the user gives none: for a text of some 200 thousand tokens, and for an image of 3 MB in
#: base64. HAProxy copies a whole buffer for each request that it may have to send again, so that larger ones cost time.
TEXT_BYTES, IMAGE_BYTES = 1024 * 1024, 4 * 1024 * 1024
#: HAProxy's buffers are smaller than the largest block that its allocator keeps (32 MiB).
_MOST_BODY = 30 * 1024 * 1024
#: HAProxy needs two descriptors for each connection of a client, one for each check and some thirty more. It does not
#: start if all of them are more than LimitNOFILE of the unit.
MOST_CONNECTIONS = 32000


def gateway(settings: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]], certificate: Optional[str]) -> Gateway:
    """Return the gateway of a host.

    Args:
        settings: the variables of the role by their names without "ollama_gateway_", and `host`, the name of the
            gateway's host in the inventory.
        facts: {GPU host: what plan_endpoints gave for its applied plan}.
        certificate: path of certificate and key on the host; None = no TLS.

    Raises:
        GatewayError: a variable, or what a host says, that makes no gateway.
    """
    endpoints = _endpoints(facts)
    upstream = given_mapping(settings, "upstream")
    drain, weights = given_list(settings, "drain"), settings["weights"]
    if upstream:
        found = through.backends(endpoints, through.upstream(upstream), drain, weights)
    else:
        found = backends(endpoints, settings["host"], drain, weights)
    if not found:
        raise GatewayError(
            "None of the hosts in ollama_gateway_gpu_hosts has an applied plan with a model: run the playbook "
            "gpufleet.ollama.site on them."
        )
    listen = listen_address(settings["listen_address"])
    keys = tuple(_key(one, found) for one in given_list(settings, "keys"))
    _check_keys(keys)
    _check_exposure(listen, keys, certificate, given_list(settings, "acknowledged"))
    return Gateway(
        listen_address=listen,
        port=_port(settings["port"], "ollama_gateway_port"),
        directory=DIRECTORY,
        socket=SOCKET,
        certificate=certificate,
        host_names=host_names(settings),
        origins=tuple(_origin(one) for one in given_list(settings, "origins")),
        version=_version(facts),
        backends=found,
        keys=keys,
        limits=_limits(settings, found),
        allow_loading=bool(settings["allow_loading"]),
        upstream_key=_token(upstream.get("key")) if upstream else None,
        metrics_port=_metrics_port(settings),
    )


def _endpoints(facts: Mapping[str, Mapping[str, Any]]) -> tuple[Endpoint, ...]:
    try:
        return fleet(facts)
    except (EndpointsError, InvalidName) as error:
        raise GatewayError(str(error))


def listen_address(text: Any) -> str:
    """Return the address on which a gateway listens.

    Raises:
        GatewayError: it is no IP address.
    """
    found = addresses.ip_address(str(text).strip())
    if found is None:
        raise GatewayError(
            "ollama_gateway_listen_address is %r; give an IP address of the host, or 0.0.0.0 or :: for all." % (text,)
        )
    return found


def _port(value: Any, name: str) -> int:
    if not addresses.is_port(value):
        raise GatewayError("%s is %r; give a number from 1 to %d." % (name, value, addresses.HIGHEST_PORT))
    return int(value)


def _metrics_port(settings: Mapping[str, Any]) -> Optional[int]:
    if str(settings["metrics_port"]) == "0":
        return None
    port = _port(settings["metrics_port"], "ollama_gateway_metrics_port")
    if port == _port(settings["port"], "ollama_gateway_port"):
        raise GatewayError("ollama_gateway_metrics_port is %d, which clients use; give another." % port)
    return port


def _origin(text: Any) -> str:
    if not isinstance(text, str) or not _ORIGIN.match(text):
        raise GatewayError(
            "ollama_gateway_origins has %r; an origin looks like https://chat.example.org, with neither a path nor *."
            % (text,)
        )
    # As browsers send it: HTML standard, serialization of an origin.
    scheme, unused, place = text.lower().partition("://")
    return "%s://%s" % (scheme, place.removesuffix(_DEFAULT_PORTS.get(scheme, ":")))


def _version(facts: Mapping[str, Mapping[str, Any]]) -> str:
    versions = [str(entry.get("ollama_version")) for entry in facts.values()]
    good = [version for version in versions if _VERSION.match(version)]
    return min(good, key=_numbers, default="0.0.0")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]


def _number(settings: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = settings[name]
    if isinstance(value, bool) or not str(value).isdigit() or not least <= int(value) <= most:
        raise GatewayError("ollama_gateway_%s is %r; give a number from %d to %d." % (name, value, least, most))
    return int(value)


def _limits(settings: Mapping[str, Any], found: Sequence[Backend]) -> Limits:
    day = 24 * 60 * 60
    if settings["body_bytes"] in ("", None):
        images = any("vision" in (backend.capabilities or ()) for backend in found)
        settings = dict(settings, body_bytes=IMAGE_BYTES if images else TEXT_BYTES)
    return Limits(
        body_bytes=_number(settings, "body_bytes", 4096, _MOST_BODY),
        connections=_number(settings, "connections", 1, MOST_CONNECTIONS),
        queue=_number(settings, "queue", 1, 1000000),
        queue_timeout=_number(settings, "queue_timeout", 1, day),
        body_timeout=_number(settings, "body_timeout", 1, day),
        answer_timeout=_number(settings, "answer_timeout", 1, day),
    )


# --- keys ------------------------------------------------------------------------------------------


def _key(entry: Any, found: Sequence[Backend]) -> Key:
    if not isinstance(entry, Mapping):
        raise GatewayError(
            "ollama_gateway_keys has an entry that is no dictionary; give each entry as {name: ..., key: ...}."
        )
    name = entry.get("name")
    if not isinstance(name, str) or not _KEY_NAME.match(name):
        raise GatewayError(
            "ollama_gateway_keys has the name %r; a name has letters, digits, '_', '.' and '-', 64 at most." % (name,)
        )
    rate, priority = entry.get("rate"), entry.get("priority") or 0
    if rate is not None and (not str(rate).isdigit() or not 1 <= int(rate) <= 1000000):
        raise GatewayError("The rate %r of the key %s is not a number of requests a minute, 1 or more." % (rate, name))
    if not re.match(r"-?[0-9]{1,3}\Z", str(priority)) or not -100 <= int(priority) <= 100:
        raise GatewayError("The priority %r of the key %s is not a number from -100 to 100." % (priority, name))
    models = entry.get("models")
    if models is not None:
        models = checked_list(models, "The models of the key %s are %r" % (name, models), '["llama3.1:8b"]')
    return Key(
        name=name,
        sha256=_hash(entry, name),
        backends=None if models is None else tuple(sorted(_allowed(models, name, found))),
        not_served=tuple(model for model in models or () if key_of(model) not in _served(found)),
        rate=None if rate is None else int(rate),
        priority=int(priority),
    )


def _hash(entry: Mapping[str, Any], name: str) -> str:
    key, sha256 = entry.get("key"), entry.get("sha256")
    if (key is None) == (sha256 is None):
        raise GatewayError("The key %s needs either key or sha256, the SHA-256 of the key." % name)
    if sha256 is not None:
        if not _SHA256.match(str(sha256)):
            raise GatewayError("sha256 of the key %s has not 64 hexadecimal digits." % name)
        return str(sha256).lower()
    if not _TOKEN.match(str(key)) or len(str(key)) < _SHORTEST_KEY:
        raise GatewayError(
            "The key %s has fewer than %d characters, or one that a bearer token cannot have: 'openssl rand -hex 32' "
            "makes a good one." % (name, _SHORTEST_KEY)
        )
    return hashlib.sha256(str(key).encode("utf-8")).hexdigest()


def _allowed(models: Sequence[str], name: str, found: Sequence[Backend]) -> set[str]:
    """The backends that a key may use: those with a name that is listed, or all of whose models are listed."""
    try:
        listed = {parse(model).key() for model in models}
    except InvalidName as error:
        raise GatewayError("The models of the key %s: %s." % (name, error))
    return {
        backend.name
        for backend in found
        if any(key_of(model) in listed for model in backend.models)
        or all(key_of(model) in listed for model in backend.served_as)
    }


def _served(found: Sequence[Backend]) -> set[str]:
    """The keys of all names that a key may list."""
    return {key_of(model) for backend in found for model in (*backend.models, *backend.served_as)}


def warnings(found: Gateway) -> tuple[str, ...]:
    """Return a sentence about each key that lists models which are not served: they may be misspelt."""
    served = ", ".join(sorted({model for backend in found.backends for model in backend.models}))
    return tuple(
        "The key %s lists %s, which no host serves: correct ollama_gateway_keys, or apply a plan that serves %s. "
        "Served are: %s.%s"
        % (
            key.name,
            ", ".join(key.not_served),
            "it" if len(key.not_served) == 1 else "them",
            served,
            "" if key.backends else " The key may use no model now.",
        )
        for key in found.keys
        if key.not_served
    )


def _check_keys(keys: Sequence[Key]) -> None:
    for what, values in (("name", [key.name for key in keys]), ("key", [key.sha256 for key in keys])):
        twice = {value for value in values if values.count(value) > 1}
        if twice:
            names = sorted({key.name for key in keys if key.name in twice or key.sha256 in twice})
            raise GatewayError("ollama_gateway_keys has the same %s twice: %s." % (what, ", ".join(names)))


def _token(text: Any) -> str:
    if not isinstance(text, str) or not _TOKEN.match(text):
        raise GatewayError("ollama_gateway_upstream needs key, the key of this gateway for the gateways of the hosts.")
    return text


def _check_exposure(listen: str, keys: Sequence[Key], certificate: Optional[str], given: Sequence[str]) -> None:
    unknown = [name for name in given if name not in ACKNOWLEDGED]
    if unknown:
        raise GatewayError(
            "ollama_gateway_acknowledged has %s; it may have: %s."
            % (", ".join(map(str, unknown)), ", ".join(ACKNOWLEDGED))
        )
    if addresses.is_loopback(listen):
        return
    for name, there, what in (
        ("keys", bool(keys), "has no authentication; set ollama_gateway_keys"),
        ("tls", certificate is not None, "sends keys and answers without encryption; set ollama_gateway_tls"),
    ):
        if not there and name not in given:
            raise GatewayError(
                "The gateway listens on %s and %s, or acknowledge it by ollama_gateway_acknowledged: [%s]."
                % (listen, what, name)
            )
