# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From placements to Ollama instances: one for each set of GPUs and server-wide settings, as a plan describes them."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Optional, Sequence

from ...common import addresses, paths
from ...common.names import key_of
from ...common.sizes import GIB
from ...common.visible_devices import VISIBLE_DEVICES
from ..ask import inherited
from ..ask.applied import Applied
from ..ask.service import Service
from ..search import confirm, on_demand
from ..search.host import Host
from ..shapes import CPU, Choice, Placed, Wanted
from . import instance_names
from .entries import predicted_entry
from .ports import Serving, ports_of

ALL_LAYERS = 999
NO_GPU = "-1"
# num_gpu 999 is written where every GPU keeps a GiB. A model that has it keeps it down to FORCED_STAYS; one that was
# planned without gets it from FORCED_RETURNS. So it is not created again whenever a few MiB come and go.
FORCED_STAYS = 3 * GIB // 4
FORCED_RETURNS = 5 * GIB // 4
# Variables of the user that the plan has taken into account: its own value of them is written.
_TAKEN_INTO_ACCOUNT = (
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_NUM_PARALLEL",
    "OLLAMA_KV_CACHE_TYPE",
    "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_GPU_OVERHEAD",
)


@dataclasses.dataclass(frozen=True)
class Member:
    """One model of an instance.

    Attributes:
        settings: server-wide variables that it needs; models with the same ones can share an instance.
        forced: whether num_gpu 999 is written, so that no layer goes to the CPU.
    """

    wanted: Wanted
    placed: Placed
    settings: dict[str, str]
    forced: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names that clients use: of the optimized model, the plain one, then its aliases."""
        return (self.wanted.create_as, self.wanted.name, *self.wanted.aliases)

    @property
    def base_name(self) -> str:
        """Name of the first instance on its GPUs."""
        return instance_names.instance_name(self.placed.gpus)


@dataclasses.dataclass(frozen=True)
class Instance:
    """One Ollama server: its name, its port and its models, which have the same GPUs and settings.

    Attributes:
        first_address_of: create_as of the models that clients found, or find, at this address first.
    """

    name: str
    port: int
    members: tuple[Member, ...]
    first_address_of: frozenset[str] = frozenset()


def build(choices: Sequence[Choice], host: Host, service: Service) -> list[Instance]:
    """The instances of a plan.

    Args:
        choices: of all models; those without placements are ignored.
        host: the Host with all of them on it.
        service: what the services have in common.

    Returns:
        the instances in the order of their GPUs' numbers ("cpu" last); what runs keeps its names and addresses.
    """
    groups: list[list[Member]] = []
    for member in _members(choices, host, service):
        for group in groups:
            if _can_join(group, member, service, host):
                group.append(member)
                break
        else:
            groups.append([member])
    groups.sort(key=lambda group: _gpu_order(group[0]))
    names = _names(groups, host.applied)
    serving = [Serving(name, tuple(member.names for member in group)) for name, group in zip(names, groups)]
    ports = ports_of(serving, host.applied, service.base_port)
    instances = [Instance(name, port, tuple(group)) for name, port, group in zip(names, ports, groups)]
    bases = [group[0].base_name for group in groups]
    instances.sort(key=lambda instance: (bases.index(instance.members[0].base_name), instance.name))
    return _with_first_addresses(instances, host.applied)


def _members(choices: Sequence[Choice], host: Host, service: Service) -> Iterator[Member]:
    for choice in sorted(choices, key=lambda one: one.wanted.create_as):
        for placed in choice.placements:
            forced = _all_layers_forced(choice.wanted, placed, host, service)
            settings = confirm.settings_of(choice.wanted, placed, service.release, forced)
            yield Member(choice.wanted, placed, settings, forced)


def _names(groups: Sequence[Sequence[Member]], applied: Applied) -> list[str]:
    """Names of the instances: one that runs keeps its name, the others on the same GPUs take the next letters."""
    names: list[Optional[str]] = []
    for group in groups:
        possible = [name for name in instance_names.names_on(group[0].base_name) if name not in names]
        running = [applied.instance(member.wanted.create_as, member.placed.uuids) for member in group]
        names.append(next((name for name in running if name in possible), None))
    for place, group in enumerate(groups):
        if names[place] is None:
            names[place] = instance_names.free_name(group[0].base_name, names)
    return [str(name) for name in names]


def _with_first_addresses(instances: Sequence[Instance], applied: Applied) -> list[Instance]:
    """The instances with the models whose first address each has: the one that the applied plan has, while it is there,
    so that it stays the same through all plans, whatever replicas come and go."""
    first: dict[str, int] = {}
    for instance in instances:
        for member in instance.members:
            name = member.wanted.create_as
            if name not in first or instance.port == applied.first_ports.get(key_of(name)):
                first[name] = instance.port
    return [
        dataclasses.replace(
            instance, first_address_of=frozenset(name for name, port in first.items() if port == instance.port)
        )
        for instance in instances
    ]


def _all_layers_forced(wanted: Wanted, placed: Placed, host: Host, service: Service) -> bool:
    """Whether num_gpu 999 is written: no layer may go to the CPU and every GPU keeps a GiB.

    Not before 0.30: there a forced num_gpu takes all GPUs or makes Ollama search without end.
    """
    if not service.release.all_layers_can_be_forced or wanted.allow_cpu_offload:
        return False
    if not wanted.resident:
        return False  # its instance serves models of several sizes with the same settings
    if not placed.gpus or placed.outcome == CPU:
        return False
    spare = min(host.spare_bytes(uuid) for uuid in placed.uuids)
    runs, num_gpu = host.applied.num_gpu(wanted.create_as, placed.uuids)
    if not runs:
        return spare >= GIB
    return spare >= (FORCED_STAYS if num_gpu == ALL_LAYERS else min(FORCED_RETURNS, max(GIB, wanted.headroom_bytes)))


def _gpu_order(member: Member) -> tuple[bool, list[int]]:
    numbers = [gpu.number for gpu in member.placed.gpus]
    return (not numbers, numbers)


def _can_join(group: Sequence[Member], member: Member, service: Service, host: Host) -> bool:
    """Whether a model joins an instance: same GPUs, same settings, and Ollama would not evict one for the other."""
    first = group[0]
    if first.placed.uuids != member.placed.uuids or first.settings != member.settings:
        return False
    if first.wanted.resident != member.wanted.resident:
        return False
    if any(gpu.exclusive for gpu in member.placed.gpus):
        return False
    # A server keeps one engine for each model file (server/sched.go of Ollama 0.32.15, schedulerModelKey), and the
    # plain name can name one of them only.
    if any(on_demand.cannot_share(one.wanted, member.wanted) for one in group):
        return False
    if not member.placed.gpus or not member.wanted.resident:
        return True  # of models on demand one is loaded at a time, and may be evicted for the next
    # Models on demand may be loaded when a resident model is loaded again.
    reserved = {gpu.uuid: host.left[gpu.uuid] - host.spare_bytes(gpu.uuid) for gpu in member.placed.gpus}
    loads = [confirm.planned_load(one.wanted, one.placed, service.variables, reserved) for one in [*group, member]]
    return not any(service.release.evicts(last, loads[:place] + loads[place + 1 :]) for place, last in enumerate(loads))


def instance_entry(instance: Instance, service: Service) -> dict[str, Any]:
    """An entry of the plan's `instances`."""
    return {
        "name": instance.name,
        "unit": paths.unit(instance.name),
        "address": service.listen_address,
        "port": instance.port,
        "url": addresses.url(service.listen_address, instance.port),
        "store": paths.store(service.models_dir, instance.name),
        "gpu_uuids": list(instance.members[0].placed.uuids),
        "environment": environment(instance, service),
        "models": [
            dict(model_entry(member, service), first_address=member.wanted.create_as in instance.first_address_of)
            for member in instance.members
        ],
    }


def environment(instance: Instance, service: Service) -> dict[str, str]:
    """The service variables of an instance: the plan's, and the user's."""
    contexts = [member.placed.predicted.context_length for member in instance.members]
    store = paths.store(service.models_dir, instance.name)
    resident = instance.members[0].wanted.resident
    planned = {
        "OLLAMA_HOST": addresses.host_and_port(service.listen_address, instance.port),
        "OLLAMA_MODELS": store,
        "CUDA_CACHE_PATH": paths.cuda_cache(store),
        VISIBLE_DEVICES: ",".join(instance.members[0].placed.uuids) or NO_GPU,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OLLAMA_VULKAN": "0",
        "OLLAMA_NO_CLOUD": "1",
        # A server that starts deletes what it finds of a download that is more than an hour old, and a host that was
        # down for a night would begin again. The role takes away what is left over (changes/compare.py).
        "OLLAMA_NOPRUNE": "1",
        # The smallest of the instance, so that a request for a plain model never takes more than was planned.
        "OLLAMA_CONTEXT_LENGTH": str(min(contexts)),
        # Of the models on demand one is loaded at a time: they share the memory that the residents leave.
        "OLLAMA_MAX_LOADED_MODELS": str(len(instance.members) if resident else 1),
        "OLLAMA_KEEP_ALIVE": "-1",
        **instance.members[0].settings,
    }
    taken = _TAKEN_INTO_ACCOUNT + (() if resident else ("OLLAMA_KEEP_ALIVE",))
    ours = {name: planned[name] for name in taken if name in planned}
    return {**planned, **service.variables, **ours}


def model_entry(member: Member, service: Service) -> dict[str, Any]:
    """A model in an entry of the plan's `instances`."""
    wanted, placed = member.wanted, member.placed
    return {
        "name": wanted.name,
        "create_as": wanted.create_as,
        "from": wanted.name,
        "aliases": list(wanted.aliases),
        "digest": wanted.digest,
        "planned_digest": wanted.facts.digest,
        "refresh": wanted.refresh,
        "source": wanted.source,
        "adapters": list(wanted.adapters),
        "headers": wanted.facts.headers,
        "size_bytes": wanted.facts.size_bytes,
        "insecure": wanted.insecure,
        "parameters": parameters(member),
        "system": wanted.system,
        "template": wanted.template,
        "resident": wanted.resident,
        "keep_alive": wanted.keep_alive,
        "expected": {"outcome": placed.outcome},
        "context_length": placed.predicted.context_length,
        "parallel": wanted.parallel,
        "cpu_experts": wanted.cpu_experts,
        "kv_cache_type": wanted.cache_type,
        "speculation": _speculation(wanted, service),
        "draft": _draft(wanted),
        "capabilities": wanted.facts.capabilities,
        "embedding": service.release.embeds(wanted.facts),
        "predicted": predicted_entry(placed),
    }


def _speculation(wanted: Wanted, service: Service) -> Optional[dict[str, Any]]:
    """What the engine is told of speculative decoding: {type, tokens, draft}, or None."""
    found = service.release.speculation(wanted.facts, wanted.drafted)
    if found.kind is None:
        return None
    return {"type": found.kind, "tokens": found.tokens, "draft": wanted.facts.draft is not None}


def _draft(wanted: Wanted) -> Optional[dict[str, Any]]:
    """The model whose file becomes the draft model: {name, planned_digest, headers}; None where none is named."""
    draft = wanted.facts.draft
    if wanted.draft_name is None or draft is None:
        return None
    return {"name": wanted.draft_name, "planned_digest": draft.digest, "headers": draft.headers}


def parameters(member: Member) -> dict[str, Any]:
    """The parameters of the optimized model: the user's, the plan's context, batch and layers, and what takes away the
    model's own parameters that would undo the plan."""
    wanted, placed = member.wanted, member.placed
    found = dict(wanted.parameters, num_ctx=placed.predicted.context_length)
    if wanted.ubatch or placed.batch:
        found["num_batch"] = wanted.ubatch or placed.batch
    if placed.outcome == CPU:
        if placed.gpus:
            found["num_gpu"] = 0
    elif wanted.allow_cpu_offload:
        if wanted.num_gpu is not None:
            found["num_gpu"] = wanted.num_gpu
    elif member.forced:
        found["num_gpu"] = ALL_LAYERS
    return {**found, **inherited.replacements(wanted.facts.parameters, found)}
