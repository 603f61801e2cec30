# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a gateway is made of. Pure data: nothing here decides, and haproxy.py writes it down as it is."""

from __future__ import annotations

import dataclasses
from typing import Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import ServedModel


class GatewayError(ValueError):
    """Settings of the role, or endpoints, that make no gateway. The text is one sentence."""


@dataclasses.dataclass(frozen=True)
class Tls:
    """How a server behind the gateway is spoken to over TLS.

    Attributes:
        ca_file: path, on the host of the gateway, of the certificates that it is checked against.
        name: the name in its certificate.
    """

    ca_file: str
    name: str


@dataclasses.dataclass(frozen=True)
class Server:
    """An instance of Ollama, or the gateway of a host, behind a gateway.

    Attributes:
        name: of the server in the configuration.
        host: name of the host in the inventory.
        instance: name of the instance; "gateway" for the gateway of a host.
        address: IP address or host name, without brackets.
        port: its port.
        slots: requests that it answers at once for this model.
        weight: its share of the requests, 0 to 256; 0 is a server that gets no new requests.
        loaded_as: the names that /api/ps may show for the model there.
        resident: whether the model stays loaded; a model on demand need not be loaded to be asked for.
        tls: None for plain HTTP.
    """

    name: str
    host: str
    instance: str
    address: str
    port: int
    slots: int
    weight: int
    loaded_as: tuple[str, ...]
    resident: bool = True
    tls: Optional[Tls] = None


@dataclasses.dataclass(frozen=True)
class Backend:
    """Names that clients may ask for and that mean the same models on the same servers.

    Attributes:
        name: of the backend in the configuration.
        models: the names, as /api/tags shows them.
        servers: the servers that answer.
        served_as: the models that are meant; several where an alias stands for other models on other hosts.
        context_length: the smallest of the servers; None where it is not known.
        capabilities: that all servers have; None where they are not known.
        example: the model of the first server, for what lists say of sizes.
    """

    name: str
    models: tuple[str, ...]
    servers: tuple[Server, ...]
    served_as: tuple[str, ...]
    context_length: Optional[int] = None
    capabilities: Optional[tuple[str, ...]] = None
    example: Optional[ServedModel] = None


@dataclasses.dataclass(frozen=True)
class Key:
    """An API key.

    Attributes:
        name: for the log and the limits.
        sha256: of the key, 64 hexadecimal digits in lower case.
        backends: the backends that it may use; None = all.
        not_served: names of models in its list that no backend has.
        rate: requests a minute; None = any number.
        priority: -100 to 100; where requests wait, those of a higher one go first.
    """

    name: str
    sha256: str
    backends: Optional[tuple[str, ...]] = None
    not_served: tuple[str, ...] = ()
    rate: Optional[int] = None
    priority: int = 0


@dataclasses.dataclass(frozen=True)
class Limits:
    """Sizes, numbers and times; times in seconds.

    Attributes:
        body_bytes: of a request at most.
        connections: of clients at once.
        queue: requests that wait for one model.
        queue_timeout: how long a request waits for a free slot.
        body_timeout: how long a client may take to send a request.
        answer_timeout: how long a server, or a client, may be silent while an answer is under way.
    """

    body_bytes: int
    connections: int
    queue: int
    queue_timeout: int
    body_timeout: int
    answer_timeout: int


@dataclasses.dataclass(frozen=True)
class Gateway:
    """Everything that the configuration says.

    Attributes:
        listen_address: where it listens, without brackets; "*" is written as it is.
        port: where it listens.
        directory: of its files on its host.
        socket: path of the socket for administration; None = there is none.
        certificate: path of certificate and key on its host; None = no TLS.
        host_names: names, in lower case, that a request may be made to; IP addresses always may.
        origins: values of the header Origin that are allowed.
        version: of Ollama, for /api/version: the oldest of the endpoints.
        backends: one for each set of servers that have the same models.
        keys: who may use it; none = everyone who reaches it.
        limits: sizes, numbers and times.
        allow_loading: whether clients may send what loads or unloads models (keep_alive, num_ctx and their like).
        upstream_key: what it sends as its own key; None where it speaks to instances.
        metrics_port: where it tells its metrics on loopback; None = nowhere.
    """

    listen_address: str
    port: int
    directory: str
    socket: Optional[str]
    certificate: Optional[str]
    host_names: tuple[str, ...]
    origins: tuple[str, ...]
    version: str
    backends: tuple[Backend, ...]
    keys: tuple[Key, ...]
    limits: Limits
    allow_loading: bool = False
    upstream_key: Optional[str] = None
    metrics_port: Optional[int] = None
