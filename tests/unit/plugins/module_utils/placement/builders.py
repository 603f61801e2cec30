# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Entries, plans and their outlines for the tests of the planner."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.placement import plan as plan_room
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.shapes import PlanRequest

from tests.oracle import models

MIB = 1024 * 1024
GIB = 1024 * MIB


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
