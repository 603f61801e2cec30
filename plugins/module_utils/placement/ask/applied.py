# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan that is in force on the host. It is kept where it still holds and another choice would gain little."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Optional, Sequence

from ...common.names import key_of
from ..shapes import Gpu, Wanted

# A model moves to another GPU only if that GPU has more memory left, by more than this share of its total.
KEEP_SHARE = 0.1
# The layers per GPU, and contexts chosen automatically, stay as they are unless a change would move, or use, more than
# this share of a GPU's memory.
KEEP_SPLIT = 0.05
# A context chosen automatically grows only by more than this share.
KEEP_CONTEXT = 0.1
# A model stays where it is although others took memory there, as long as they left this share of its headroom.
KEEP_HEADROOM = 0.75

DAMAGED = (
    "The applied plan is damaged. The memory of the units that it still names counts as available, that of all other "
    "units as foreign, and its models may be placed on other GPUs."
)


def sound(applied_plan: Any, plan_version: int) -> tuple[dict[str, Any], Optional[str]]:
    """The applied plan as far as it can be relied on. A damaged file must not stop the next plan.

    Args:
        applied_plan: what is written on the host; may be None, empty or anything else.
        plan_version: the version of the structure that this collection writes.

    Returns:
        (the plan, a warning or None).
    """
    if not applied_plan:
        return {}, None
    if not isinstance(applied_plan, dict):
        return {}, DAMAGED
    if applied_plan.get("plan_version", plan_version) != plan_version:
        return _units(applied_plan), (
            "The applied plan has plan_version %r, and this collection writes %d. The memory of its units counts as "
            "available, and its models may be placed on other GPUs." % (applied_plan["plan_version"], plan_version)
        )
    try:
        _check(applied_plan)
    except (AttributeError, KeyError, TypeError):
        return _units(applied_plan), DAMAGED
    return applied_plan, None


def _units(plan: dict[str, Any]) -> dict[str, Any]:
    """What can be read of a plan of whatever shape: the names of its units, whose memory the next plan may use."""
    instances = plan.get("instances")
    found = instances if isinstance(instances, list) else []
    return {
        "instances": [
            {"unit": one["unit"]} for one in found if isinstance(one, dict) and isinstance(one.get("unit"), str)
        ]
    }


def _check(plan: dict[str, Any]) -> None:
    """Raise AttributeError, KeyError or TypeError where a plan has not the shape that Applied and ask/gpus.py read."""
    for gpu in plan.get("gpus") or []:
        _typed(gpu["uuid"], str), _typed(gpu.get("pci_bus_id"), str)
    for out in plan.get("left_out") or []:
        _typed(out["uuid"], str), _typed(out.get("pci_bus_id"), str)
    for instance in plan.get("instances") or []:
        _typed(instance.get("unit"), str)
        _typed(instance.get("name"), str)
        "LLAMA_ARG_TENSOR_SPLIT" in _typed(instance.get("environment") or {}, dict)
        for model in instance.get("models") or []:
            _typed(model.get("create_as"), str)
            _typed(model.get("name"), str)
            _typed(model.get("context_length"), int)
            for alias in _typed(model.get("aliases") or [], list):
                _typed(alias, str)
            (model.get("parameters") or {}).get("num_gpu")
            predicted = model.get("predicted") or {}
            _typed(predicted.get("pinned_batch"), int)
            for device in predicted.get("devices") or []:
                _typed(device["uuid"], str), device["total_bytes"] + 0
                _typed(device.get("layers"), int)


def _typed(value: Any, kind: type) -> Any:
    if value is not None and not isinstance(value, kind):
        raise TypeError(value)
    return value


@dataclasses.dataclass(frozen=True)
class AppliedPlace:
    """One instance of a model in the applied plan.

    Attributes:
        instance: name of the Ollama instance.
        layers: {UUID: layers there, or None where the plan does not say it}, in PCI order.
        split_is_set: whether the plan sets the layers per GPU.
        batch: the batch that the plan sets, or None.
    """

    instance: Optional[str]
    layers: dict[str, Optional[int]]
    fully_on_gpu: bool
    split_is_set: bool
    context_length: Optional[int]
    parallel: Optional[int]
    kv_cache_type: Optional[str]
    batch: Optional[int]
    num_gpu: Optional[int]

    @property
    def uuids(self) -> tuple[str, ...]:
        """UUIDs of the GPUs."""
        return tuple(self.layers)


@dataclasses.dataclass(frozen=True)
class InForce:
    """What a model that runs on a set of GPUs with the same settings keeps there.

    Attributes:
        allowance_bytes: what may be missing of its headroom.
        layers: layers per GPU in PCI order, or None where not all of its layers are on GPUs.
        split_is_set: whether the plan sets these layers.
        batch: the batch that the plan sets, or None.
    """

    allowance_bytes: int = 0
    layers: Optional[tuple[int, ...]] = None
    split_is_set: bool = False
    batch: Optional[int] = None


#: Of a model that does not run there, or with other settings.
NOTHING_IN_FORCE = InForce()


class Applied:
    """Where the applied plan has each model.

    Args:
        plan: the applied plan, checked by `sound`; may be empty.

    Attributes:
        places: {create_as: its instances}.
        ports: {name of an instance: port}.
        first_ports: {key of a name that clients use (common/names.key_of): the port at which they found it first}. It
            is the one that the plan marks (`first_address`), else that of the first instance.
        served_at: {key of a name: all ports that serve it}.
        base_port: of the applied plan, or None.
    """

    def __init__(self, plan: Optional[dict[str, Any]] = None) -> None:
        plan = plan or {}
        self.places: dict[Optional[str], list[AppliedPlace]] = {}
        self.ports: dict[Optional[str], Any] = {}
        self.first_ports: dict[str, int] = {}
        self.served_at: dict[str, set[int]] = {}
        self.base_port = plan.get("base_port")
        marked: dict[str, int] = {}
        for instance in plan.get("instances") or []:
            port = self.ports[instance.get("name")] = instance.get("port")
            for model in instance.get("models") or []:
                self.places.setdefault(model.get("create_as"), []).append(_place(instance, model))
                for key in _name_keys(model) if isinstance(port, int) else ():
                    self.first_ports.setdefault(key, port)
                    self.served_at.setdefault(key, set()).add(port)
                    if model.get("first_address"):
                        marked.setdefault(key, port)
        self.first_ports.update(marked)

    def gpu_sets(self, create_as: str) -> list[tuple[str, ...]]:
        """The sets of GPUs that serve a model now: UUIDs in PCI order."""
        return [place.uuids for place in self.places.get(create_as, [])]

    def in_force(self, wanted: Wanted, gpus: Sequence[Gpu], context_length: int) -> InForce:
        """What a model keeps that runs on exactly these GPUs with this context and the same slots and cache type.

        A model that runs with layers on the CPU gets no part of its headroom: it did not fit with the headroom, and it
        must not come to fit by running.
        """
        place = self._place(wanted.create_as, tuple(gpu.uuid for gpu in gpus))
        settings = (context_length, wanted.parallel, wanted.cache_type)
        if place is None or (place.context_length, place.parallel, place.kv_cache_type) != settings:
            return NOTHING_IN_FORCE
        layers = tuple(count for count in place.layers.values() if count)
        complete = len(layers) == len(place.layers) and sum(layers) == wanted.facts.block_count + 1
        return InForce(
            allowance_bytes=int(wanted.headroom_bytes * (1 - KEEP_HEADROOM)) if place.fully_on_gpu else 0,
            layers=layers if complete else None,
            split_is_set=complete and place.split_is_set,
            batch=None if wanted.ubatch else place.batch,
        )

    def instance(self, create_as: str, uuids: Sequence[str]) -> Optional[str]:
        """Name of the instance that serves a model on exactly these GPUs now, or None."""
        same = (place.instance for place in self.places.get(create_as, []) if place.uuids == tuple(uuids))
        return next(same, None)

    def context_length(self, create_as: str) -> Optional[int]:
        """Tokens that a model has now, or None."""
        return next((place.context_length for place in self.places.get(create_as, [])), None)

    def num_gpu(self, create_as: str, uuids: Sequence[str]) -> tuple[bool, Optional[int]]:
        """(whether a model runs on exactly these GPUs now, the num_gpu that it has there or None)."""
        place = self._place(create_as, tuple(uuids))
        return place is not None, place.num_gpu if place else None

    def _place(self, create_as: str, uuids: tuple[str, ...]) -> Optional[AppliedPlace]:
        if not uuids:
            return None
        return next((place for place in self.places.get(create_as, []) if place.uuids == uuids), None)


def _name_keys(model: dict[str, Any]) -> Iterator[str]:
    """Keys of the names by which clients ask for a model of a plan's instance."""
    for name in (model.get("create_as"), model.get("name"), *(model.get("aliases") or ())):
        if name:
            yield key_of(name)


def _place(instance: dict[str, Any], model: dict[str, Any]) -> AppliedPlace:
    predicted = model.get("predicted") or {}
    return AppliedPlace(
        instance=instance.get("name"),
        layers={device["uuid"]: device.get("layers") for device in predicted.get("devices") or []},
        fully_on_gpu=bool(predicted.get("fully_on_gpu")),
        split_is_set="LLAMA_ARG_TENSOR_SPLIT" in (instance.get("environment") or {}),
        context_length=model.get("context_length"),
        parallel=model.get("parallel"),
        kv_cache_type=model.get("kv_cache_type"),
        batch=predicted.get("pinned_batch"),
        num_gpu=(model.get("parameters") or {}).get("num_gpu"),
    )
