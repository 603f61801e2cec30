# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What clients need to know of an applied plan: where a host serves which model, and how much of it. Pure."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Mapping, Optional

from ..common import addresses
from ..common.names import full_name, further_names, key_of, served_name

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")


class EndpointsError(ValueError):
    """A plan, or what was written of one, gives no endpoints. The text is one sentence."""


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A model of an instance.

    Attributes:
        name: under which the instance serves it, as /api/tags shows it.
        names: every name that clients may use for it: `name` first, then its plain name, its aliases and its draft
            model. Ollama matches names without case (common/names.py, key_of).
        slots: requests that the engine answers at once.
        context_length: tokens of one slot.
        capabilities: as /api/show has them, as far as the header and the configuration of the model say it (what only
            its template says, such as "tools", is missing); None in a plan from before plans had them.
        resident: whether it stays loaded. Of the others an instance has one loaded at a time.
        digest: of the manifest that the plan was made from, 64 hexadecimal digits; of a model that is made from another
            one with parameters, that of the other one. None where it is not known.
        size_bytes: of its files; None where it is not known.
        memory_bytes: what it takes once it is loaded, as /api/ps counts it, without the contexts of the GPUs.
        vram_bytes: the part of it that is on GPUs.
    """

    name: str
    names: tuple[str, ...]
    slots: int
    context_length: Optional[int]
    capabilities: Optional[tuple[str, ...]]
    resident: bool = True
    digest: Optional[str] = None
    size_bytes: Optional[int] = None
    memory_bytes: Optional[int] = None
    vram_bytes: Optional[int] = None

    def is_named(self, name: str) -> bool:
        """Whether a name that a client uses is one of this model."""
        return key_of(name) in {key_of(one) for one in self.names}


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """An instance, as clients see it.

    Attributes:
        host: name in the inventory.
        instance: name of the instance: "gpu0-1".
        address: what clients connect to: an IP address or a host name, without brackets. Never one that stands for all
            addresses of a host.
        listen_address: where the instance listens, which may be one that stands for all.
        port: where it listens.
        models: what it serves.
        gpu_uuids: its GPUs; none for an instance of the CPU.
    """

    host: str
    instance: str
    address: str
    listen_address: str
    port: int
    models: tuple[ServedModel, ...]
    gpu_uuids: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The address for clients: "http://192.0.2.7:11434"."""
        return "http://" + addresses.host_and_port(self.address, self.port)

    @property
    def host_only(self) -> bool:
        """Whether only programs on the host itself reach it."""
        return addresses.is_loopback(self.address)

    @property
    def slots(self) -> int:
        """Requests that the instance answers at once: of models that stay loaded the sum; of the others one is loaded
        at a time."""
        residents = sum(model.slots for model in self.models if model.resident)
        return residents or max((model.slots for model in self.models), default=0)

    def model(self, name: str) -> Optional[ServedModel]:
        """Return the model that a client gets under a name; None where the instance serves none under it."""
        return next((model for model in self.models if model.is_named(name)), None)


def advertised_address(plan: Mapping[str, Any], instance: Mapping[str, Any], default: Optional[str]) -> Optional[str]:
    """Return the address of an instance that clients use.

    It is the one that the user gives; else the one at which the instance listens; where that stands for all addresses
    of the host, the one by which the host reaches others.

    Args:
        plan: of module placement_info, or one that was written down.
        instance: an entry of its `instances`.
        default: the host's default address.

    Returns:
        None where the instance listens on all addresses and none is known.
    """
    if plan.get("advertise_address"):
        return str(plan["advertise_address"])
    if addresses.is_wildcard(instance["address"]):
        # A host says it, so that it may be any text.
        found = addresses.ip_address(str(default or ""))
        return None if found is None or addresses.is_loopback(found) or addresses.is_wildcard(found) else found
    return addresses.without_brackets(instance["address"])


def endpoints(host: str, plan: Mapping[str, Any], default: Optional[str] = None) -> tuple[Endpoint, ...]:
    """Return the endpoints of a host, in the order of its instances.

    Args:
        host: its name in the inventory.
        plan: its applied plan.
        default: its default address.

    Raises:
        EndpointsError: an instance listens on all addresses of the host, and none is known.
    """
    return tuple(_endpoint(host, plan, instance, default) for instance in plan["instances"])


def _endpoint(host: str, plan: Mapping[str, Any], instance: Mapping[str, Any], default: Optional[str]) -> Endpoint:
    address = advertised_address(plan, instance, default)
    if address is None:
        raise EndpointsError(
            "The instance %s of %s listens on %s, which stands for all addresses of the host, and the host has no "
            "default address that clients could use: set ollama_multigpu_advertise_address."
            % (instance["name"], host, instance["address"])
        )
    return Endpoint(
        host=host,
        instance=instance["name"],
        address=address,
        listen_address=addresses.without_brackets(instance["address"]),
        port=instance["port"],
        models=tuple(served_model(model) for model in instance["models"]),
        gpu_uuids=tuple(instance["gpu_uuids"]),
    )


def served_model(model: Mapping[str, Any]) -> ServedModel:
    """Return what an entry of `models` of an instance of a plan tells clients."""
    name = served_name(model)
    capabilities = model.get("capabilities")
    return ServedModel(
        name=name,
        names=(name, *further_names(model)),
        slots=model.get("parallel") or 1,
        context_length=model.get("context_length"),
        capabilities=None if capabilities is None else tuple(capabilities),
        resident=model.get("resident", True),
        digest=_digest(model.get("planned_digest")),
        size_bytes=model.get("size_bytes"),
        **_memory(model.get("predicted") or {}),
    )


def _digest(text: Any) -> Optional[str]:
    """A digest as /api/tags shows it; None where the text is none."""
    found = _DIGEST.match(str(text or ""))
    return found.group(1) if found else None


def _memory(predicted: Mapping[str, Any]) -> dict[str, Optional[int]]:
    """Of `predicted` of a model: what it takes. Ollama leaves the contexts of the GPUs out."""
    devices = predicted.get("devices") or []
    if any("total_bytes" not in device for device in devices) or predicted.get("host_total_bytes") is None:
        return {"memory_bytes": None, "vram_bytes": None}
    vram = sum(device["total_bytes"] - device["overhead_bytes"] for device in devices)
    return {"memory_bytes": vram + predicted["host_total_bytes"], "vram_bytes": vram}


def plan_endpoints(plan: dict[str, Any], default_address: Optional[str] = None) -> dict[str, Any]:
    """Return {ollama_version, endpoints[]} of a plan, as the local facts of a host have it.

    An endpoint's `models` are the names that it serves, and its `aliases` are {alias: the model that it names};
    `serves` has what is known of each model. `address` and `url` are those for clients, and null where the instance
    listens on all addresses of the host and none is known.

    Args:
        plan: of module placement_info, or one that was written down.
        default_address: of the host, see `advertised_address`.
    """
    return {
        "ollama_version": plan["ollama_version"],
        "endpoints": [_entry(plan, instance, default_address) for instance in plan["instances"]],
    }


def _entry(plan: Mapping[str, Any], instance: Mapping[str, Any], default: Optional[str]) -> dict[str, Any]:
    address = advertised_address(plan, instance, default)
    return {
        "instance": instance["name"],
        "url": None if address is None else "http://" + addresses.host_and_port(address, instance["port"]),
        "address": address,
        "listen_address": addresses.without_brackets(instance["address"]),
        "port": instance["port"],
        "gpu_uuids": instance["gpu_uuids"],
        "models": [served_name(model) for model in instance["models"]],
        "aliases": {
            full_name(alias): served_name(model) for model in instance["models"] for alias in model.get("aliases") or ()
        },
        "serves": [dataclasses.asdict(served_model(model)) for model in instance["models"]],
    }


def endpoints_of_entry(host: str, entry: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    """Return the endpoints of what `plan_endpoints` gave, read from the facts of a host or from the file of endpoints.

    Args:
        host: its name in the inventory.
        entry: {ollama_version, endpoints[]}.

    Raises:
        EndpointsError: it is not of this form, or an endpoint has no address for clients.
    """
    try:
        return tuple(_read(host, one) for one in entry["endpoints"])
    except EndpointsError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EndpointsError(
            "What is known of the endpoints of %s is not what the role ollama_multigpu writes (%s: %s): run the "
            "playbook gpufleet.ollama.site on the host." % (host, type(error).__name__, error)
        )


def _read(host: str, entry: Mapping[str, Any]) -> Endpoint:
    if not entry["address"]:
        raise EndpointsError(
            "The instance %s of %s has no address for clients: set ollama_multigpu_advertise_address and run the "
            "playbook gpufleet.ollama.site on the host." % (entry["instance"], host)
        )
    if not addresses.is_port(entry["port"]):
        raise ValueError("%.20r is no port" % (entry["port"],))
    return Endpoint(
        host=host,
        instance=str(entry["instance"]),
        address=_address(entry["address"]),
        listen_address=_address(entry["listen_address"]),
        port=int(entry["port"]),
        models=tuple(_read_model(one) for one in entry["serves"]),
        gpu_uuids=tuple(str(uuid) for uuid in entry["gpu_uuids"]),
    )


def _address(text: Any) -> str:
    found = addresses.host(text)
    if found is None:
        raise ValueError("%.80r is neither an IP address nor a host name" % (text,))
    return found


def _read_model(entry: Mapping[str, Any]) -> ServedModel:
    capabilities = entry["capabilities"]
    return ServedModel(
        name=full_name(entry["name"]),
        names=tuple(full_name(name) for name in entry["names"]),
        slots=int(entry["slots"]),
        context_length=None if entry["context_length"] is None else int(entry["context_length"]),
        capabilities=None if capabilities is None else tuple(str(one) for one in capabilities),
        resident=bool(entry["resident"]),
        # What is missing in facts from before there were sizes is not known.
        digest=_digest(entry.get("digest")),
        **{name: _bytes(entry.get(name)) for name in ("size_bytes", "memory_bytes", "vram_bytes")},
    )


def _bytes(value: Any) -> Optional[int]:
    return None if value is None else max(int(value), 0)
