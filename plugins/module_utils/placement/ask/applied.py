# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is in force on the host: a plan that still holds is kept where the other choice would gain little."""

from __future__ import annotations

# A GPU is left for another one only if that is emptier by more than this share of its memory.
KEEP_SHARE = 0.1
# The layers per GPU, and contexts chosen automatically, stay as they are unless others would move or take more than this
# share of a GPU's memory.
KEEP_SPLIT = 0.05
# A context chosen automatically grows only by more than this share.
KEEP_CONTEXT = 0.1
# A model stays where it is although others took memory there, as long as they left this share of its headroom.
KEEP_HEADROOM = 0.75

DAMAGED = (
    "The applied plan is damaged: the memory of units that it still names counts as available, that of others as foreign, "
    "and its models may be placed anew."
)


def sound(applied_plan, plan_version):
    """(the applied plan as far as it can be relied on, a warning or None): a damaged file must not stop the next plan.

    Args:
        applied_plan: what is written on the host; may be None, empty or anything else.
        plan_version: the version of the structure that this collection writes.
    """
    if not applied_plan:
        return {}, None
    if not isinstance(applied_plan, dict):
        return {}, DAMAGED
    if applied_plan.get("plan_version", plan_version) != plan_version:
        return _units(applied_plan), (
            "The applied plan has plan_version %r, this collection writes %d: the memory of its units counts as available, and its models may be placed anew."
            % (applied_plan["plan_version"], plan_version)
        )
    try:
        _check(applied_plan)
    except (AttributeError, KeyError, TypeError):
        return _units(applied_plan), DAMAGED
    return applied_plan, None


def _units(plan):
    """What can be read of a plan of whatever shape: the names of its units, whose memory the next plan may use."""
    instances = plan.get("instances")
    found = instances if isinstance(instances, list) else []
    return {
        "instances": [
            {"unit": one["unit"]} for one in found if isinstance(one, dict) and isinstance(one.get("unit"), str)
        ]
    }


def _check(plan):
    """Raise AttributeError, KeyError or TypeError where a plan has not the shape that Applied and the GPUs' room read."""
    for gpu in plan.get("gpus") or []:
        _typed(gpu["uuid"], str), gpu.get("number")
    for instance in plan.get("instances") or []:
        _typed(instance.get("unit"), str)
        _typed(instance.get("name"), str)
        "LLAMA_ARG_TENSOR_SPLIT" in _typed(instance.get("environment") or {}, dict)
        for model in instance.get("models") or []:
            _typed(model.get("create_as"), str)
            _typed(model.get("context_length"), int)
            (model.get("parameters") or {}).get("num_gpu")
            predicted = model.get("predicted") or {}
            _typed(predicted.get("pinned_batch"), int)
            for device in predicted.get("devices") or []:
                _typed(device["uuid"], str), device["total_bytes"] + 0
                _typed(device.get("layers"), int)


def _typed(value, kind):
    if value is not None and not isinstance(value, kind):
        raise TypeError(value)
    return value


class Applied:
    """Where the applied plan has each model.

    Args:
        plan: the applied plan, checked by `sound`; may be empty.
    """

    def __init__(self, plan=None):
        self.places = {}
        self.ports = {}
        self.base_port = (plan or {}).get("base_port")
        for instance in (plan or {}).get("instances") or []:
            self.ports[instance.get("name")] = instance.get("port")
            for model in instance.get("models") or []:
                predicted = model.get("predicted") or {}
                devices = predicted.get("devices") or []
                place = {
                    "instance": instance.get("name"),
                    "uuids": [device["uuid"] for device in devices],
                    "layers": [device.get("layers") for device in devices],
                    "fully_on_gpu": bool(predicted.get("fully_on_gpu")),
                    "split": "LLAMA_ARG_TENSOR_SPLIT" in (instance.get("environment") or {}),
                    "context_length": model.get("context_length"),
                    "settings": (model.get("parallel"), model.get("kv_cache_type")),
                    "batch": predicted.get("pinned_batch"),
                    "num_gpu": (model.get("parameters") or {}).get("num_gpu"),
                }
                self.places.setdefault(model.get("create_as"), []).append(place)

    def sets(self, served):
        """Sets of GPUs (lists of UUIDs) that serve a model now."""
        return [place["uuids"] for place in self.places.get(served, [])]

    def allowance(self, wanted, gpus, context_length):
        """Bytes of its headroom that a model may do without on these GPUs: some where it runs there just as wanted, else 0.

        One that runs there with layers on the CPU did not fit with the headroom; it must not come to fit by running.
        """
        same = self._same(wanted, gpus, context_length)
        return int(wanted["headroom_bytes"] * (1 - KEEP_HEADROOM)) if same and same["fully_on_gpu"] else 0

    def in_force(self, wanted, gpus, context_length):
        """What a model has that runs on these GPUs just as wanted: (its layers per GPU, or None; whether the plan itself set
        them; the batch that the plan itself gave it, or None)."""
        same = self._same(wanted, gpus, context_length)
        if not same:
            return None, False, None
        layers = (
            same["layers"] if all(same["layers"]) and sum(same["layers"]) == wanted["facts"].block_count + 1 else None
        )
        return layers, bool(layers and same["split"]), None if wanted["ubatch"] else same["batch"]

    def _same(self, wanted, gpus, context_length):
        place = self._place(wanted["served"], [gpu["uuid"] for gpu in gpus])
        settings = (wanted["parallel"], wanted["kv_cache_type"] or "f16")
        return place if place and (place["context_length"], place["settings"]) == (context_length, settings) else None

    def instance(self, served, uuids):
        """Name of the instance that serves a model on exactly these GPUs now, or None."""
        return next((place["instance"] for place in self.places.get(served, []) if place["uuids"] == uuids), None)

    def context_length(self, served):
        """Tokens that a model has now, or None."""
        return next((place["context_length"] for place in self.places.get(served, [])), None)

    def num_gpu(self, served, uuids):
        """(whether a model runs on exactly these GPUs now, the num_gpu that it has there or None)."""
        place = self._place(served, uuids)
        return place is not None, place and place["num_gpu"]

    def _place(self, served, uuids):
        return next((place for place in self.places.get(served, []) if uuids and place["uuids"] == uuids), None)
