# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Entries, plans and their outlines for the tests of the planner."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement import plan as plan_room
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.shapes import (
    Gpu,
    Placed,
    PlanRequest,
    Predicted,
    PredictedDevice,
)

from tests.oracle import hosts, models

MIB = 1024 * 1024
GIB = 1024 * MIB
ONE_A6000 = hosts.inventory(hosts.A6000)
TWO_A6000 = hosts.inventory(hosts.A6000, hosts.A6000)
TWO_4090 = hosts.inventory(hosts.RTX4090, hosts.RTX4090)


def wanted(name, **settings_):
    """An entry of placement_info's models for a recorded model."""
    facts = models.model(name)
    return dict(settings_, name=facts["name"], model=facts)


def sized(name, gib, blocks=6, **settings_):
    """An entry for a small model of llama's architecture whose weights take `gib` GiB: quick to plan with."""
    base = models.model("llama3.1-8b")
    weights = int(gib * GIB)
    part = weights // (blocks + 1)
    facts = dict(
        base,
        name=name,
        block_count=blocks,
        head_count=base["head_count"][:blocks],
        head_count_kv=base["head_count_kv"][:blocks],
        layers=[{"index": index, "weight_bytes": part, "expert_bytes": 0} for index in range(blocks)],
        output_bytes=part,
        embedding_bytes=64 * MIB,
        file_bytes=weights + 64 * MIB,
        size_bytes=weights + 64 * MIB,
        parameter_count=weights,
    )
    return dict(settings_, name=name, model=facts)


def make_plan(*arguments, **options):
    """The plan of a request, whose fields are given as arguments."""
    return plan_room.make_plan(PlanRequest(*arguments, **options))


def plan(inventory, *models_, **options):
    return make_plan(inventory, list(models_), options.pop("ollama_version", "0.32.15"), **options)


def outline(result):
    """(instance, model, layers per GPU) of a plan."""
    return [
        (instance["name"], model["create_as"], [device["layers"] for device in model["predicted"]["devices"]])
        for instance in result["instances"]
        for model in instance["models"]
    ]


def where(result):
    """{name of the model without tag: names of its instances}."""
    found = {}
    for instance, name, dummy in outline(result):
        found.setdefault(name.split(":")[0], []).append(instance)
    return found


def held(result):
    """{uuid: bytes that all models of a plan take there}."""
    sums = {}
    for instance in result["instances"]:
        for model in instance["models"]:
            for device in model["predicted"]["devices"]:
                sums[device["uuid"]] = sums.get(device["uuid"], 0) + device["total_bytes"]
    return sums


def settings_of(result):
    """Everything of a plan that reaches a host: another value restarts a server or makes a model anew."""
    return [
        (item["name"], item["port"], item["environment"], [model["parameters"] for model in item["models"]])
        for item in result["instances"]
    ]


def refused(entry=None, inventory=TWO_A6000, **options):
    """The sentence with which a wrong entry, inventory or option is refused."""
    facts = models.model("llama4-scout")
    one = {"name": "llama4:16x17b", "model": facts}
    one.update(entry or {})
    version = options.pop("ollama_version", "0.32.15")
    listed = options.pop("models", [one])
    with pytest.raises(PlacementError) as caught:
        make_plan(inventory, listed, version, **options)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "?"))
    return message


def gpu(number=0, **fields):
    """A GPU of placement/shapes.py with 24 GiB."""
    base = Gpu(
        uuid="GPU-%d" % number,
        index=number,
        number=number,
        pci_bus_id="0000:%02x:00.0" % (number + 1),
        name="GPU",
        architecture="ampere",
        compute_capability=(8, 6),
        total_bytes=24 * GIB,
        available_bytes=23 * GIB,
    )
    return dataclasses.replace(base, **fields)


def placed(*devices, **fields):
    """A Placed with 4 layers on each GPU.

    Args:
        devices: (Gpu, bytes that the model takes there, bytes that the GPU has for it).
        fields: of Placed and Predicted.
    """
    count = 4 * len(devices)
    predicted = Predicted(
        gpu_layers=fields.pop("gpu_layers", count),
        total_layers=fields.pop("total_layers", count),
        fully_on_gpu=fields.pop("fully_on_gpu", True),
        host_bytes=fields.pop("host_bytes", 0),
        ubatch=512,
        context_length=4096,
        headroom_bytes=fields.pop("headroom_bytes", GIB),
        devices=tuple(
            PredictedDevice(on, 4, size - 2 * MIB, MIB, MIB, 0, 0, 0, total_bytes=size, room_bytes=room)
            for on, size, room in devices
        ),
    )
    return Placed(predicted, "split" if len(devices) > 1 else "single", **fields)
