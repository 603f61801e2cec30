# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Observe a plan on its host: NVML, /api/ps, the processes and journals of the units. Draws no conclusions.

The order matters: load what is not loaded, run one short generation per model while NVML is sampled, then read all GPUs
and processes once. Instances load at the same time. Generations that share a GPU run one after the other, so that the
utilization of a GPU is that of one model.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from ..common import paths
from ..common.libraries import LibraryMissing, import_pynvml
from ..common.names import served_name
from ..gpu import nvml
from ..gpu.sampler import Sampler
from ..host import firewall, listeners, systemd
from ..host.unit_properties import main_pid
from . import gpu_memory, observer
from .concurrency import in_parallel
from .generations import rounds
from .load_progress import LoadProgress
from .observer import Observer
from .planned import planned_uuids
from .shapes import Observations, Rules

#: How often sockets are read while the main process of a unit changes.
_LOOKS = 3
_NOT_WANTED = "no generation was run"


def collect(
    plan: dict[str, Any],
    load: bool = True,
    generate: bool = True,
    timeout: float = 300.0,
    nvml_timeout: float = 30.0,
    inventory: dict[str, Any] | None = None,
) -> Observations:
    """Return what is observed for a plan.

    Args:
        plan: of placement_info.
        load: whether to load what is not loaded; nothing is ever evicted for it.
        generate: whether to run the generations.
        timeout: seconds without progress after which a load or generation is given up.
        nvml_timeout: seconds that NVML may take to answer.
        inventory: the GPU facts, where they were just read and nothing is loaded or generated after that.

    Raises:
        LibraryMissing: requests, or nvidia-ml-py where the plan uses GPUs.
    """
    instances = plan.get("instances") or []
    units = [instance["unit"] for instance in instances]
    properties = systemd.show(units)
    observers = [Observer(instance, timeout, properties.get(instance["unit"], {})) for instance in instances]
    uses_gpus = any(planned_uuids(model) for instance in instances for model in instance["models"])
    try:
        pynvml = import_pynvml()
    except LibraryMissing:
        if uses_gpus:
            raise
        pynvml = None
    used_before = (
        _used(nvml.read_inventory(nvml_timeout)[0]) if load and any(one.has_to_load() for one in observers) else {}
    )
    progress = LoadProgress(paths.LOAD_PROGRESS) if load else None
    in_parallel([functools.partial(one.load, progress) for one in observers])
    if progress:
        progress.finish()
    if generate:
        by_name = {one.instance["name"]: one for one in observers}
        for together in rounds(instances):
            ready = [(by_name[instance["name"]], model) for instance, model in together]
            _generate_together([pair for pair in ready if pair[0].can_generate(pair[1])], pynvml, nvml_timeout)
    else:
        for found in (found for one in observers for found in one.observed.models.values()):
            found.not_generated = _NOT_WANTED
    sockets, properties = _listening([*units, paths.FIREWALL_UNIT])
    in_parallel([functools.partial(one.finish, sockets, properties.get(one.instance["unit"], {})) for one in observers])
    inventory = _settled_inventory(observers, nvml_timeout, inventory)
    for one in observers:
        one.join_devices(inventory["gpus"])
    observed = {one.instance["name"]: one.observed for one in observers}
    return Observations(inventory, observed, used_before, Rules(**firewall.rules(properties)))


def _listening(units: list[str]) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """Return the sockets of the host and what systemd says of these units, both of one moment: a server that was
    restarted while its models were loaded, or between the two looks, has another process now."""
    properties = systemd.show(units)
    for _look in range(_LOOKS):
        before, sockets, properties = properties, listeners.listeners(), systemd.show(units)
        if _main_pids(before) == _main_pids(properties):
            break
    return sockets, properties


def _main_pids(properties: dict[str, dict[str, str]]) -> dict[str, int]:
    return {unit: main_pid(found) for unit, found in properties.items()}


def _used(inventory: dict[str, Any]) -> dict[str, int | None]:
    return {uuid: device.used_bytes for uuid, device in gpu_memory.devices(inventory).items()}


def _settled_inventory(
    observers: list[Observer], nvml_timeout: float, inventory: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the GPU facts: the given ones, or those of now.

    They are read again where a process of a unit was on a GPU that is the engine of no planned model: a server starts
    the engine for a moment to ask it for GPUs.
    """
    inventory = inventory or nvml.read_inventory(nvml_timeout)[0]
    if not any(one.strangers_on_gpus(inventory) for one in observers):
        return inventory
    time.sleep(observer.SETTLE_SECONDS)
    return nvml.read_inventory(nvml_timeout)[0]


def _generate_together(ready: list[tuple[Observer, dict]], pynvml: Any, nvml_timeout: float) -> None:
    """Run one generation of each of these models at the same time, and sample the utilization of their GPUs."""
    if not ready:
        return
    sampler = Sampler(pynvml) if pynvml else None
    in_parallel([functools.partial(one.generate, model) for one, model in ready])
    sampled = sampler.finish(nvml_timeout) if sampler else {"utilization_peak": {}, "busy_processes": {}}
    for one, model in ready:
        found, planned = one.observed.models[served_name(model)], planned_uuids(model)
        peaks, processes = sampled["utilization_peak"], sampled["busy_processes"]
        found.utilization_peak = {uuid: peaks[uuid] for uuid in planned if uuid in peaks}
        found.busy_processes = {uuid: processes[uuid] for uuid in planned if uuid in processes}
