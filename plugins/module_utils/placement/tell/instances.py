# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""From placements to Ollama instances: one per set of GPUs and server-wide settings, with everything their units need."""

from __future__ import annotations

from ...releases.shapes import PlannedLayers
from .. import naming
from ..search import confirm

GIB = 1024**3
ALL_LAYERS = 999
MOST_PORTS = 1000
NO_GPU = "-1"
# num_gpu 999 is written where every GPU keeps a GiB; once written it stays down to the first, once absent it comes at
# the second, so that a model is not made anew whenever a few MiB come and go.
FORCED_STAYS = 3 * GIB // 4
FORCED_RETURNS = 5 * GIB // 4


def build(choices, host, release, environment, models_dir, listen_address, base_port):
    """The instances of a plan.

    Args:
        choices, host: what policy.choose returned; models without placements are passed over.
        release: the Release planned for.
        environment: the user's checked service variables.

    Returns:
        list of instances in the order of their GPUs' numbers ("cpu" last), ports counted from base_port; an instance
        that runs keeps its port.
    """
    groups = []
    for choice in sorted(choices, key=lambda one: one["wanted"]["served"]):
        for placed in choice["placements"]:
            forced = _all_layers_forced(choice["wanted"], placed, host, release)
            settings = _settings(choice["wanted"], placed, release, forced)
            member = {"wanted": choice["wanted"], "placed": placed, "settings": settings, "forced": forced}
            for group in groups:
                if _shares(group, member, release, environment):
                    group.append(member)
                    break
            else:
                groups.append([member])
    groups.sort(key=lambda group: _gpu_order(group[0]))
    names = _names(groups, host.applied)
    ports = _ports(names, host.applied, base_port)
    instances = [
        _instance(name, group, release, environment, models_dir, listen_address, port)
        for name, group, port in zip(names, groups, ports)
    ]
    order = [naming.instance_name(group[0]["placed"]["gpus"]) for group in groups]
    return [
        instance
        for dummy, instance in sorted(zip(order, instances), key=lambda pair: (order.index(pair[0]), pair[1]["name"]))
    ]


def _names(groups, applied):
    """Names of the instances: one that runs keeps its name, the others on the same GPUs take the next letters."""
    bases = [naming.instance_name(group[0]["placed"]["gpus"]) for group in groups]
    names = [None] * len(groups)
    for place, group in enumerate(groups):
        uuids = [gpu["uuid"] for gpu in group[0]["placed"]["gpus"]]
        for member in group:
            name = applied.instance(member["wanted"]["served"], uuids)
            if names[place] is None and name not in names and name in naming.names_on(bases[place]):
                names[place] = name
    for place, base in enumerate(bases):
        if names[place] is None:
            names[place] = naming.free_name(base, names)
    return names


def _ports(names, applied, base_port):
    """Ports of the instances: those that run keep theirs (unless the base port was changed), the others take the first free."""
    kept = {}
    if applied.base_port == base_port:
        for name in names:
            port = applied.ports.get(name)
            if isinstance(port, int) and base_port <= port < base_port + MOST_PORTS and port not in kept.values():
                kept[name] = port
    ports = []
    for name in names:
        taken = list(kept.values()) + ports
        ports.append(
            kept[name]
            if name in kept
            else next(port for port in range(base_port, base_port + MOST_PORTS) if port not in taken)
        )
    return ports


def _all_layers_forced(wanted, placed, host, release):
    """Whether num_gpu 999 is written: no fallback to the CPU is wanted and every GPU keeps a GiB.

    Not before 0.30: there a forced num_gpu takes all GPUs or makes Ollama search for ever.
    """
    if (
        not release.all_layers_can_be_forced
        or wanted["allow_cpu_offload"]
        or not placed["gpus"]
        or placed["outcome"] == "cpu"
    ):
        return False
    spare = min(host.left[gpu["uuid"]] for gpu in placed["gpus"])
    runs, num_gpu = host.applied.num_gpu(wanted["served"], [gpu["uuid"] for gpu in placed["gpus"]])
    if not runs:
        return spare >= GIB
    return spare >= (FORCED_STAYS if num_gpu == ALL_LAYERS else min(FORCED_RETURNS, max(GIB, wanted["headroom_bytes"])))


def _gpu_order(member):
    numbers = [gpu["number"] for gpu in member["placed"]["gpus"]]
    return (not numbers, numbers)


def _settings(wanted, placed, release, forced):
    """Server-wide variables that a model needs; models with the same ones can share an instance."""
    settings = {"OLLAMA_NUM_PARALLEL": str(wanted["parallel"])}
    if wanted["kv_cache_type"]:
        settings["OLLAMA_KV_CACHE_TYPE"] = wanted["kv_cache_type"]
    if wanted["flash_attention"] is not None:
        settings["OLLAMA_FLASH_ATTENTION"] = "1" if wanted["flash_attention"] else "0"
    if len(placed["gpus"]) > 1:
        settings["OLLAMA_SCHED_SPREAD"] = "1"
    settings.update(
        release.layer_settings(
            PlannedLayers(
                outcome=placed["outcome"] if placed["gpus"] else "cpu",
                tensor_split=tuple(placed["tensor_split"]) if placed["tensor_split"] else None,
                reserve_bytes=placed.get("reserve") or 0,
                headroom_bytes=placed["predicted"]["headroom_bytes"],
                projector_bytes=wanted["facts"].projector_bytes,
                cpu_allowed=wanted["allow_cpu_offload"],
                forced=forced,
            )
        )
    )
    return settings


def _shares(group, member, release, environment):
    """Whether a model joins an instance: same GPUs, same settings, and Ollama would not evict one for the other."""
    first = group[0]
    if [gpu["uuid"] for gpu in first["placed"]["gpus"]] != [gpu["uuid"] for gpu in member["placed"]["gpus"]]:
        return False
    if first["settings"] != member["settings"] or any(gpu["exclusive"] for gpu in member["placed"]["gpus"]):
        return False
    together = group + [member]
    return not any(
        _evicts(one, [other for other in together if other is not one], release, environment) for one in together
    )


def _evicts(member, others, release, environment):
    """Whether loading a model last would make Ollama unload the others first."""
    if not member["placed"]["gpus"]:
        return False
    last, *rest = [confirm.planned_load(one["wanted"], one["placed"], environment) for one in [member] + others]
    return release.evicts(last, rest)


def _instance(name, group, release, environment, models_dir, listen_address, port):
    gpus = group[0]["placed"]["gpus"]
    store = "%s/instances/%s" % (str(models_dir).rstrip("/"), name)
    variables = {
        "OLLAMA_HOST": naming.host_and_port(listen_address, port),
        "OLLAMA_MODELS": store,
        "CUDA_VISIBLE_DEVICES": ",".join(gpu["uuid"] for gpu in gpus) or NO_GPU,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OLLAMA_VULKAN": "0",
        "OLLAMA_NO_CLOUD": "1",
        # The smallest of the instance, so that a request for a plain model never takes more than was planned.
        "OLLAMA_CONTEXT_LENGTH": str(min(member["placed"]["predicted"]["context_length"] for member in group)),
        "OLLAMA_MAX_LOADED_MODELS": str(len(group)),
        "OLLAMA_KEEP_ALIVE": "-1",
    }
    planned = dict(variables, **group[0]["settings"])
    variables = dict(planned, **environment)
    for owned in (
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_NUM_PARALLEL",
        "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_FLASH_ATTENTION",
        "OLLAMA_GPU_OVERHEAD",
    ):
        # The user's value of these was taken into account already.
        if owned in planned:
            variables[owned] = planned[owned]
    return {
        "name": name,
        "unit": "ollama@%s.service" % name,
        "address": listen_address,
        "port": port,
        "url": naming.url(listen_address, port),
        "store": store,
        "gpu_uuids": [gpu["uuid"] for gpu in gpus],
        "environment": variables,
        "models": [_model(member) for member in group],
    }


def _model(member):
    wanted, placed = member["wanted"], member["placed"]
    predicted = placed["predicted"]
    parameters = dict(wanted["parameters"])
    parameters["num_ctx"] = predicted["context_length"]
    if wanted["ubatch"] or placed["batch"]:
        parameters["num_batch"] = wanted["ubatch"] or placed["batch"]
    if placed["outcome"] == "cpu":
        if placed["gpus"]:
            parameters["num_gpu"] = 0
    elif wanted["allow_cpu_offload"]:
        if wanted["num_gpu"] is not None:
            parameters["num_gpu"] = wanted["num_gpu"]
    elif member["forced"]:
        parameters["num_gpu"] = ALL_LAYERS
    return {
        "name": wanted["name"],
        "create_as": wanted["served"],
        "from": wanted["name"],
        "digest": wanted["digest"],
        "insecure": wanted["insecure"],
        "parameters": parameters,
        "system": wanted["system"],
        "template": wanted["template"],
        "keep_alive": wanted["keep_alive"],
        "expected": {"outcome": placed["outcome"]},
        "context_length": predicted["context_length"],
        "parallel": wanted["parallel"],
        "kv_cache_type": wanted["kv_cache_type"] or "f16",
        "predicted": dict(predicted, basis="predicted", pinned_batch=placed["batch"]),
    }
