# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Plans and observations of hosts that are not as planned, and that contradict themselves."""

from __future__ import annotations

import copy
import dataclasses
import posixpath

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.arguments import option
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import engine_log, server_process
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import (
    ObservedInstance,
    ObservedModel,
    Rules,
)

from tests.unit.plugins.module_utils.evidence.builders import (
    ANSWER,
    ARGUMENTS,
    GIB,
    LISTED,
    MIB,
    NAME,
    OVERHEAD,
    PS,
    UNIT,
    WITHOUT_LOG,
    A,
    B,
    gpu,
    log,
    observations,
    plan,
)

TRUE = {A: 33 * GIB + OVERHEAD, B: 32 * GIB + OVERHEAD}
SMALL = {"weight_bytes": 70 * MIB, "kv_bytes": 20 * MIB, "compute_bytes": 10 * MIB}


def changed(change, **options):
    """Observations to which a function was applied."""
    seen = observations(**options)
    change(seen)
    return seen


def with_engine(**changes):
    own = observations().instances["gpu0-1"].models[NAME].engine
    return observations(engine=dataclasses.replace(own, **changes))


def small():
    wanted = plan({A: 100 * MIB}, outcome="single")
    wanted["instances"][0]["models"][0]["predicted"]["devices"][0].update(SMALL)
    return wanted


def partly(layers=24, share=32 * GIB, fixed=False, **environment):
    """A plan that leaves weights in host memory, with so many layers on the second GPU."""
    wanted = plan({A: 33 * GIB, B: share})
    (instance,) = wanted["instances"]
    (model,) = instance["models"]
    model["predicted"].update(fully_on_gpu=False)
    model["predicted"]["devices"][1].update(
        layers=layers, weight_bytes=share - 200 * MIB, kv_bytes=100 * MIB, compute_bytes=100 * MIB
    )
    instance["environment"].update(environment)
    if not fixed:
        del model["parameters"]["num_gpu"]
    return wanted


def on_the_cpu():
    """A plan for the CPU."""
    wanted = plan({})
    wanted["instances"][0]["models"][0]["predicted"].update(gpu_layers=0)
    return wanted


def of_instance(**changes):
    """A change to what was observed of the instance."""
    return lambda seen: [setattr(seen.instances["gpu0-1"], name, value) for name, value in changes.items()]


def two_models():
    """A plan of two models in one instance."""
    wanted = plan()
    models = wanted["instances"][0]["models"]
    models.append(dict(copy.deepcopy(models[0]), create_as="second:latest"))
    return wanted


def second_listed(seen):
    """The server lists the second model, and its process is that of the first."""
    instance = seen.instances["gpu0-1"]
    instance.models["second:latest"] = copy.deepcopy(instance.models[NAME])
    instance.loaded.append("second:latest")


OUTSIDE = dict(gpu(B, 1, 300 * MIB), uuid="GPU-cccccccc", index=2)
ELSEWHERE = {A: 33 * GIB, B: 32 * GIB}


def with_alias():
    wanted = plan()
    wanted["instances"][0]["models"][0]["aliases"] = ["chat"]
    return wanted


def with_available(wanted):
    """The same plan with the memory that it counts on."""
    for one in wanted["gpus"]:
        one["available_bytes"] = 47 * GIB
    return wanted


def beside_the_plan(wanted):
    """The same plan in an instance that sees both GPUs."""
    wanted["instances"][0]["gpu_uuids"] = [A, B]
    return wanted


def in_use_by_nobody(seen):
    for fact in seen.inventory["gpus"]:
        fact["memory"].update(used_bytes=fact["memory"]["used_bytes"] + 14 * GIB, free_bytes=GIB // 2)


def smaller(seen):
    """A GPU that is as large as what is in use of it, and a little more."""
    memory = seen.inventory["gpus"][0]["memory"]
    memory.update(total_bytes=memory["used_bytes"] + GIB // 4, free_bytes=GIB // 4)


def logged(*lines):
    """A log of an engine whose lines end with these."""
    return engine_log.parse_engine(
        [
            "load_tensors: offloaded 48/49 layers to GPU",
            "load_tensors:        CUDA0 model buffer size = 33792.00 MiB",
            "load_tensors:        CUDA1 model buffer size = 32768.00 MiB",
            *lines,
        ]
    )


#: Arguments of which llama-server takes the last: another model than the planned one.
TWO_MODELS = [*ARGUMENTS, "-m", "/m/blobs/sha256-9"]


def answering(**changes):
    """Observations of a model with another answer."""
    return observations(answer=dataclasses.replace(ANSWER, **changes))


def embedding(*vectors):
    """A plan and observations of an embedding model, whose instances give these vectors."""
    given = [
        dataclasses.replace(
            ANSWER, tokens=(), vector=vector, width=4, server="%s %d" % (UNIT, number) if number else UNIT
        )
        for number, vector in enumerate(vectors)
    ]
    why = '"x" does not support generate'
    seen = observations(answered=None, not_generated=why, vectors_only=True, answer=given[0])
    return plan(), beside(seen, *given[1:])


def beside(seen, *others):
    """The same with the answers of replicas in other instances."""
    for number, one in enumerate(others):
        seen.instances["replica%d" % number] = ObservedInstance(models={NAME: ObservedModel(answer=one)})
    return seen


def another(*likeliest):
    """The answer of a replica that begins with other tokens."""
    return dataclasses.replace(ANSWER, server="ollama@gpu1.service", tokens=((likeliest[0][0], -0.3, likeliest),))


RULES = Rules(wanted="a" * 32, loaded="a" * 32, ports=(11434,))


def on_a_network(**rules):
    """A plan whose instance listens on a network, and observations of a host with these rules of who may connect."""
    wanted = plan()
    wanted["instances"][0]["address"] = "0.0.0.0"
    return wanted, dataclasses.replace(observations(), rules=dataclasses.replace(RULES, **rules))


LISTENERS = [
    {"address": "127.0.0.1", "port": 11434, "pid": pid, "process": name, "unit": unit}
    for pid, name, unit in ((4200, "ollama", UNIT), (77, "nginx", "nginx.service"))
]
EACH = (0.5, 0.5, 0.5, 0.5)
#: (plan, observations) of hosts that are not as planned.
LIES = {
    "not_a_number": (plan(), answering(tokens=(("!", 0, (("!", 0), (" other", 0))),) * 8)),
    "one_word": (plan(), answering(tokens=(("!", -0.25, (("!", -0.25),)),) * 64)),
    "unprintable": (plan(), answering(text="".join(chr(0xE000 + number) for number in range(64)))),
    "other_words": (plan(), beside(observations(), another((" Once", -0.3), (" In", -2.0)))),
    "zero_vector": embedding((0.0,) * 4),
    "short_vector": embedding((0.5,) * 3),
    "other_vector": embedding(EACH, (0.5, -0.5, 0.5, -0.5)),
    "one_gpu": (plan(), observations(held={A: 65 * GIB, B: 300 * MIB})),
    "contexts_only": (plan(), observations(held={A: 300 * MIB, B: 300 * MIB})),
    "nothing": (plan(), observations(held={})),
    "leftover": (
        plan(),
        observations(held={A: OVERHEAD, B: OVERHEAD}, others={u: [(99, size, UNIT)] for u, size in ELSEWHERE.items()}),
    ),
    "foreign": (
        plan(),
        observations(held={A: OVERHEAD, B: OVERHEAD}, others={u: [(77, size, None)] for u, size in ELSEWHERE.items()}),
    ),
    "only_layer": (partly(1, 3 * GIB), observations(held={A: TRUE[A], B: OVERHEAD}, **WITHOUT_LOG)),
    "layer_of_each": (partly(fixed=True), observations(held={u: s - GIB for u, s in TRUE.items()}, **WITHOUT_LOG)),
    "less": (plan(), observations(held={uuid: int(size * 0.91) for uuid, size in TRUE.items()})),
    "swapped": (plan(), observations(held={A: TRUE[B], B: TRUE[A]})),
    "no_cache": (plan(), observations(held={uuid: size - GIB for uuid, size in TRUE.items()})),
    "far": (plan(), observations(held={uuid: size * 3 // 2 for uuid, size in TRUE.items()})),
    "one_layer": (plan(), observations(log=log(layers=(48, 49)))),
    "size_vram": (plan(), observations(ps=dict(PS, size_vram=60 * GIB))),
    "dry_run": (plan(), observations(log=log(dry_run={"CUDA0": 35 * GIB, "CUDA1": 32 * GIB}))),
    "buffers": (plan(), observations(log=log({"CUDA0": 30 * GIB, "CUDA1": 32 * GIB, "CPU": GIB}))),
    "buffers_on_cpu": (plan(), observations(log=log({"CPU": 64 * GIB}, dry_run={}))),
    "idle": (plan(), observations(utilization_peak={A: 0, B: 0}, busy_processes={A: {}, B: {}})),
    "busy_other": (plan(), observations(busy_processes={A: {77: 47}, B: {77: 44}})),
    "context_length": (plan(), observations(ps=dict(PS, context_length=4096))),
    "settings": (plan(), with_engine(arguments=list(ARGUMENTS) + ["-c", "4096"])),
    "dead": (plan(), observations(died="the process ended", stayed=None)),
    "silent": (plan(), observations(generation_error="no progress", answered=None)),
    "stopped": (plan(), changed(lambda seen: seen.instances["gpu0-1"].unit.update(ActiveState="failed"))),
    "not_loaded": (plan(), observations(loaded=False)),
    "beside": (plan(), changed(lambda seen: seen.instances["gpu0-1"].loaded.append("stray:latest"))),
    "outside": (
        plan({A: 6 * GIB}, outcome="single"),
        changed(
            lambda seen: seen.inventory["gpus"].append(dict(OUTSIDE, processes=[dict(LISTED, used_bytes=300 * MIB)])),
            held={A: 6 * GIB},
            **WITHOUT_LOG,
        ),
    ),
    "lost": (plan(), changed(lambda seen: seen.inventory["gpus"][1]["health"].update(state="unusable"))),
    "driver": (plan(), changed(lambda seen: seen.inventory.update(state="version_mismatch"))),
    "headroom": (plan(), observations(others={A: [(77, 14 * GIB, None)]})),
    "small_busy_other": (
        small(),
        observations(held={A: OVERHEAD}, utilization_peak={A: 87}, busy_processes={A: {77: 87}}, **WITHOUT_LOG),
    ),
    "small_nothing": (small(), observations(held={}, **WITHOUT_LOG)),
    # -- a second reader's ---------------------------------------------------------------------------------------------
    "other_listener": (plan(), changed(of_instance(listener={"pid": 77, "process": "nginx", "unit": "nginx.service"}))),
    "other_release": (plan(), changed(of_instance(version="0.31.0"))),
    "deleted_program": (plan(), with_engine(executable="/opt/release/lib/ollama/llama-server (deleted)")),
    "other_installation": (plan(), with_engine(executable="/usr/local/lib/ollama/llama-server")),
    "environment": (
        plan(),
        changed(of_instance(differences=[{"name": "OLLAMA_KV_CACHE_TYPE", "difference": "next_start"}])),
    ),
    "unread_unit": (plan(), changed(lambda seen: seen.instances["gpu0-1"].unit.update(NeedDaemonReload="yes"))),
    "one_engine": (two_models(), changed(second_listed)),
    "other_file": (plan(), with_engine(model_file="sha256-9")),
    "other_base": (plan(), observations(base_file="sha256-9")),
    "recreated": (plan(), observations(stored_digest="9" * 64)),
    "alias": (with_alias(), observations(alias_digests={"chat:latest": "9" * 64})),
    "expires": (plan(), observations(ps=dict(PS, expires_at="2026-11-28T20:30:00Z"))),
    "other_unit": (
        plan(),
        changed(lambda seen: [gpu["processes"][0].update(unit="docker.service") for gpu in seen.inventory["gpus"]]),
    ),
    "free_contradicts": (
        plan(),
        changed(
            lambda seen: seen.inventory["gpus"][0]["memory"].update(free_bytes=20 * GIB),
            others={A: [(77, 14 * GIB, None)]},
        ),
    ),
    "compensated": (plan(), observations(log=dataclasses.replace(log(), cache={"CUDA0": 8 * MIB, "CUDA1": 8 * MIB}))),
    "other_maker": (plan(), observations(log=log({"CUDA0": 33 * GIB, "CUDA1": 32 * GIB, "Vulkan0": 4 * GIB}))),
    "cpu_on_vulkan": (
        on_the_cpu(),
        observations(held={}, log=log({"Vulkan0": 30 * GIB, "CPU": GIB}, dry_run={}, compute={}), device_uuids={}),
    ),
    # -- a third reader's ----------------------------------------------------------------------------------------------
    "nobodys_memory": (with_available(plan()), changed(in_use_by_nobody)),
    "smaller_gpu": (with_available(plan()), changed(smaller)),
    "seen_gpu": (
        beside_the_plan(plan({A: 6 * GIB}, outcome="single")),
        observations(held={A: 6 * GIB + OVERHEAD, B: 8 * GIB}, **WITHOUT_LOG),
    ),
    "cpu_on_seen_gpu": (beside_the_plan(on_the_cpu()), observations(held={A: 20 * GIB}, **WITHOUT_LOG)),
    "listed_again": (on_the_cpu(), changed(of_instance(loaded=[NAME, NAME]), held={}, **WITHOUT_LOG)),
    "two_models_in_arguments": (
        plan(),
        with_engine(arguments=TWO_MODELS, model_file=posixpath.basename(option(TWO_MODELS, "--model", "-m"))),
    ),
    "swapped_file": (plan(), with_engine(mapped=["/m/blobs/sha256-1 (deleted)"])),
    "other_mapped": (plan(), with_engine(mapped=["/m/blobs/sha256-9"])),
    "renamed_engine": (plan(), with_engine(executable="/tmp/llama-server.real")),
    "other_library": (plan(), with_engine(mapped=["/usr/local/lib/libggml-cuda.so"])),
    "other_build": (plan(), changed(of_instance(runs_next=False))),
    "on_another_host": (plan(), with_engine(arguments=[*ARGUMENTS, "--rpc", "192.0.2.1:50052"])),
    "refused_variable": (
        plan(),
        changed(of_instance(differences=[{"name": "GGML_CUDA_ENABLE_UNIFIED_MEMORY", "difference": "refused"}])),
    ),
    "forwarder": (plan(), changed(of_instance(listener={"pid": 99, "process": "socat", "unit": UNIT}))),
    "two_listeners": (
        plan(),
        changed(of_instance(listener=server_process.listener_at("http://127.0.0.1:11434", LISTENERS, 4200))),
    ),
    "forged_lines": (plan(), observations(log=logged('[GIN] | GET "/offloaded 49/49 layers to GPU"'))),
    "cpu_with_context": (on_the_cpu(), observations(held={A: OVERHEAD}, **WITHOUT_LOG)),
    # -- who may connect -----------------------------------------------------------------------------------------------
    "rules_gone": on_a_network(loaded=None, ports=()),
    "rules_changed": on_a_network(loaded="", ports=()),
    "longer_list": on_a_network(loaded="b" * 32),
    "rules_of_other_ports": on_a_network(ports=(11435,)),
    "rules_file_gone": on_a_network(wanted=None, fault="it is missing"),
}
#: (plan, observations) of hosts whose figures contradict each other, so that they prove nothing.
CONTRADICTIONS = {
    "used_less": (
        plan(),
        changed(lambda seen: [gpu["memory"].update(used_bytes=32 * GIB) for gpu in seen.inventory["gpus"]]),
    ),
    "listed_twice": (
        plan(),
        changed(lambda seen: [gpu["processes"].append(dict(LISTED, used_bytes=MIB)) for gpu in seen.inventory["gpus"]]),
    ),
    "one_uuid": (plan(), changed(lambda seen: seen.inventory["gpus"].insert(0, gpu(A, 0, 300 * MIB)))),
    "one_device": (plan(), observations(device_uuids={"CUDA0": A, "CUDA1": A})),
    "absurd_bytes": (
        plan(),
        changed(
            lambda seen: [
                gpu["processes"][0].update(used_bytes=value) or gpu["memory"].update(used_bytes=value)
                for gpu, value in zip(seen.inventory["gpus"], (True, -5 * GIB))
            ]
        ),
    ),
    "absurd_percent": (
        small(),
        observations(
            held={A: 100 * MIB + OVERHEAD},
            utilization_peak={A: 2**32 - 1},
            busy_processes={A: {4242: 2**32 - 1}},
            **WITHOUT_LOG,
        ),
    ),
    "absurd_size": (plan(), observations(ps=dict(PS, size=True, size_vram=True))),
    "part_above_whole": (plan(), observations(ps=dict(PS, size_vram=90 * GIB))),
    "cpu_unmanaged": (
        on_the_cpu(),
        changed(
            lambda seen: seen.inventory.update(state="no_library", gpus=[], driver_version="580.95.05"),
            held={},
            **WITHOUT_LOG,
        ),
    ),
}
