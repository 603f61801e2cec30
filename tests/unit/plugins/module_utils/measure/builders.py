# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Plans to measure, and programs that stand in for an engine."""

from __future__ import annotations

import os

from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.oracle import hosts
from tests.rig.gpus import state
from tests.unit.plugins.module_utils.placement.builders import make_plan

MIB = 1024 * 1024


def inventory():
    """GPU facts of the rig's two GPUs, by their UUIDs."""
    facts = hosts.inventory(hosts.A6000, hosts.A6000)
    for fact, gpu in zip(facts["gpus"], state.gpus(state.load())):
        fact["uuid"] = gpu["uuid"]
    return facts


def plan_of(store, name, **settings):
    model = source.from_store(Store(store), name)[0]
    plan = make_plan(inventory(), [dict(settings, name=model["name"], model=model)], "0.32.15")
    plan["models_dir"] = store  # which is refused as one of a plan, because anybody may write below /tmp
    for instance in plan["instances"]:
        instance["environment"].update(rig_environment())
    return plan


def rig_environment():
    """What the engine stand-in needs beside the environment of a plan: it inherits nothing else."""
    return {"GPU_RIG_STATE": os.environ["GPU_RIG_STATE"]}


def figures(plan):
    return [
        [
            [device[key] // MIB for key in ("weight_bytes", "kv_bytes", "compute_bytes")]
            for device in model["predicted"]["devices"]
        ]
        for instance in plan["instances"]
        for model in instance["models"]
    ]


def program(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


TABLE = """
echo '| memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |'
echo '|   - CUDA0 (A) | 49140 = 48000 + (40000 = 39000 +     500 +     500) +         0 |'
echo '|   - CUDA1 (A) | 49140 = 48000 + (%s = %s +     500 +     500) +         0 |'
echo '|   - Host      |                   10 =     0 +       4 +       5                |'
sleep 1000
"""
