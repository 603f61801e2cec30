# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Plans and observations of hosts of several kinds that are as planned."""

from __future__ import annotations

import copy
import dataclasses

from tests.unit.plugins.module_utils.evidence.builders import (
    ANSWER,
    GIB,
    LISTED,
    MIB,
    NAME,
    OVERHEAD,
    PID,
    WITHOUT_LOG,
    A,
    B,
    device,
    gpu,
    log,
    observations,
    plan,
)
from tests.unit.plugins.module_utils.evidence.told_hosts import (
    EACH,
    TRUE,
    another,
    answering,
    beside,
    changed,
    embedding,
    on_the_cpu,
    partly,
    small,
    two_models,
    with_alias,
    with_available,
    with_engine,
)

STRANGER = {"pid": 77, "name": "python3", "used_bytes": 9 * GIB, "unit": None, "type": "compute"}


def four_gpus():
    """A plan over four GPUs and its host."""
    shares = {uuid: 16 * GIB for uuid in (A, B, "GPU-cccccccc", "GPU-dddddddd")}
    facts = [
        dict(gpu(A, number, size + OVERHEAD), uuid=uuid, pci_bus_id="0000:%02x:00.0" % number)
        for number, (uuid, size) in enumerate(shares.items())
    ]
    names = ["CUDA%d" % number for number in range(4)]
    seen = observations(
        log=dataclasses.replace(
            log(dict.fromkeys(names, 16 * GIB), dry_run=dict.fromkeys(names, 16 * GIB)),
            devices={},
            compute=dict.fromkeys(names, GIB),
            cache=dict.fromkeys(names, GIB),
        ),
        device_uuids=dict(zip(names, shares)),
        utilization_peak=dict.fromkeys(shares, 20),
        busy_processes={uuid: {PID: 20} for uuid in shares},
    )
    seen.inventory["gpus"] = facts
    return plan(shares), seen


def on_a_mig_device():
    """A plan on a MIG device, whose utilization NVML does not tell, beside a device that others use."""
    seen = observations(utilization_peak={}, busy_processes={}, **WITHOUT_LOG)
    slices = [
        {
            "uuid": "MIG-%d" % number,
            "gpu_instance_id": number,
            "memory": {"total_bytes": 20 * GIB, "free_bytes": 20 * GIB - size, "used_bytes": size},
            "processes": [process],
        }
        for number, (size, process) in enumerate(
            ((6 * GIB + OVERHEAD, dict(LISTED, used_bytes=6 * GIB + OVERHEAD)), (9 * GIB, STRANGER))
        )
    ]
    seen.inventory["gpus"][0]["mig"] = {"mode": "enabled", "devices": slices}
    seen.inventory["gpus"][1]["processes"] = []
    return plan({"MIG-0": 6 * GIB}, outcome="single"), seen


def two_that_serve():
    """A plan of two models with a process each, and its host."""
    wanted, seen = two_models(), observations(held={A: 20 * GIB, B: 20 * GIB})
    instance, second = seen.instances["gpu0-1"], wanted["instances"][0]["models"][1]
    for model in wanted["instances"][0]["models"]:
        model["predicted"]["devices"] = [device(A, 10 * GIB), device(B, 10 * GIB)]
    other = copy.deepcopy(instance.models[NAME])
    other.ps["name"], other.engine = second["create_as"], dataclasses.replace(other.engine, pid=4243, started=6)
    instance.models[second["create_as"]] = other
    instance.loaded.append(second["create_as"])
    for model, pid in ((instance.models[NAME], PID), (other, 4243)):
        model.busy_processes = {A: {pid: 40}, B: {pid: 40}}
        model.log, model.device_uuids, model.log_missing = None, {}, WITHOUT_LOG["log_missing"]
    for fact in seen.inventory["gpus"]:
        fact["processes"] = [dict(LISTED, pid=pid, used_bytes=10 * GIB + OVERHEAD) for pid in (PID, 4243)]
        fact["memory"]["used_bytes"] = 2 * (10 * GIB + OVERHEAD)
    return wanted, seen


def in_a_container():
    """A host where NVML lists no processes, on which this check has loaded the model."""
    seen = observations(fresh=True)
    for fact in seen.inventory["gpus"]:
        fact["processes"] = []
    return plan(), dataclasses.replace(seen, used_before={A: 0, B: 0})


def with_unified_memory():
    """A GPU that uses the host's memory."""
    seen = observations(held={A: 6 * GIB + OVERHEAD}, **WITHOUT_LOG)
    seen.inventory["gpus"][0]["memory"].update(kind="unified", used_bytes=None, total_bytes=120 * GIB)
    return with_available(plan({A: 6 * GIB}, outcome="single")), seen


def nearly_full():
    """The engines hold so much more than planned, within the limits, that less than the headroom is free."""
    wanted, seen = plan(), observations()
    for one, size in zip(wanted["gpus"], TRUE.values()):
        one["available_bytes"] = size + GIB
    for fact in seen.inventory["gpus"]:
        fact["processes"][0]["used_bytes"] += 600 * MIB
        fact["memory"].update(used_bytes=fact["processes"][0]["used_bytes"], free_bytes=400 * MIB)
    return wanted, seen


#: (plan, observations) of hosts that are as planned.
TRUTHS = {
    "split": (plan(), observations()),
    "without the journal": (plan(), observations(**WITHOUT_LOG)),
    "bytes unknown": (
        plan(),
        changed(lambda seen: [gpu["processes"][0].update(used_bytes=None) for gpu in seen.inventory["gpus"]]),
    ),
    "small": (
        small(),
        observations(
            held={A: 100 * MIB + OVERHEAD}, utilization_peak={A: 3}, busy_processes={A: {4242: 3}}, **WITHOUT_LOG
        ),
    ),
    "one GPU": (
        plan({A: 33 * GIB}, outcome="single"),
        observations(
            held={A: TRUE[A]}, log=log({"CUDA0": 33 * GIB}, dry_run={"CUDA0": 33 * GIB}, compute={"CUDA0": GIB})
        ),
    ),
    "four GPUs": four_gpus(),
    "a MIG device": on_a_mig_device(),
    "two models": two_that_serve(),
    "in a container": in_a_container(),
    "unified memory": with_unified_memory(),
    "alias": (with_alias(), observations(alias_digests={"chat:latest": "0" * 64})),
    "nearly full": nearly_full(),
    "the driver says 0 bytes": (
        plan(),
        changed(lambda seen: [gpu["processes"][0].update(used_bytes=0) for gpu in seen.inventory["gpus"]]),
    ),
    "the runner of before": (plan(), with_engine(arguments=["ollama", "runner", "--model", "/m/blobs/sha256-1"])),
    "without a GPU": (
        on_the_cpu(),
        changed(lambda seen: seen.inventory.update(state="no_devices", gpus=[]), held={}, **WITHOUT_LOG),
    ),
    "partly on the CPU": (partly(fixed=True), observations(**WITHOUT_LOG)),
    "a layer on another GPU": (
        partly(fixed=True),
        observations(held={A: TRUE[A] - GIB, B: TRUE[B] + GIB}, **WITHOUT_LOG),
    ),
    "one layer on a GPU": (partly(1, 3 * GIB), observations(held={A: TRUE[A], B: 3 * GIB + OVERHEAD}, **WITHOUT_LOG)),
    "on the CPU": (on_the_cpu(), observations(held={}, **WITHOUT_LOG)),
    "embedding": embedding(EACH, EACH),
    "without log-probabilities": (plan(), answering(tokens=())),
    "replicas": (plan(), beside(observations(), another((" The", -0.3), (" Once", -2.0)))),
    "replicas that are about as likely": (
        (
            plan(),
            beside(
                answering(tokens=((" The", -0.6, ((" The", -0.6), (" Once", -0.9))),)),
                another((" Once", -0.7), (" The", -0.8)),
            ),
        )
    ),
    "replicas without log-probabilities": (
        plan(),
        beside(observations(), dataclasses.replace(ANSWER, server="b", tokens=())),
    ),
}
