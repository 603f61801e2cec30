# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What would make a model fit that does not, ranked by what it costs the user. Each is tried before it is named."""

from __future__ import annotations

import dataclasses
from typing import Optional, Sequence

from ...common.pci import pci_order
from ...common.sizes import GIB, gib
from ...memory import kv_cache
from ...model.schema import ModelFacts
from ..search import policy
from ..search.fitting import Fitting
from ..shapes import ALL, AUTO, Gpu, GpuRoom
from . import host_remedies
from .case import Case
from .words import on_cpu

SMALLER_CACHE_TYPES = ("q8_0", "q4_0")
LEAST_BITS = 2.2  # of a weight: no usable build has less
MOST_GPUS = 8
ENDLESS = 1 << 50  # bytes


def remedies(case: Case) -> list[str]:
    """Sentences that name a setting and a value, cheapest first; empty if nothing that is tried helps."""
    found: list[str] = []
    if case.gpu_fault:
        return list(case.gpu_fault.remedies)
    for remedy in CHEAPEST_FIRST:
        found.extend(remedy(case))
    return found


def _strategy(case: Case) -> list[str]:
    if case.wanted.strategy == AUTO or not case.gpus:
        return []
    for other in ("split", "single") if case.wanted.strategy != "split" else ("single",):
        solved = case.solved(strategy=other, replicas=None) if other != case.wanted.strategy else None
        if solved:
            count = len(solved.placements[0].gpus)
            return ["strategy: %s fits, on %s" % (other, "one GPU" if count == 1 else "%d GPUs" % count)]
    return []


def _reserved(case: Case) -> list[str]:
    """Releases before 0.30 leave OLLAMA_GPU_OVERHEAD free on every GPU, beside the headroom of the plan."""
    variables = dict(case.fitting.variables)
    reserved = variables.pop("OLLAMA_GPU_OVERHEAD", None)
    if not case.fitting.release.keeps_gpu_overhead or not case.gpus or not int(reserved or 0):
        return []
    if case.solved(fitting=Fitting(case.fitting.release, case.fitting.overhead_bytes, variables, case.fitting.system)):
        return ["OLLAMA_GPU_OVERHEAD: without this variable the model fits; headroom_bytes keeps memory free as well"]
    return []


def _library(case: Case) -> list[str]:
    """One CUDA library for all GPUs, where the release would take several and a process can have one only."""
    if not case.fitting.refused_set(case.empty_host().joinable()):
        return []
    for name in sorted({name for gpu in case.gpus for name in gpu.libraries}, reverse=True):
        one = [dataclasses.replace(gpu, libraries=(name,)) for gpu in case.gpus if name in gpu.libraries]
        if case.solved(one):
            return ["OLLAMA_LLM_LIBRARY: %s is then the CUDA library of all GPUs, and the model fits" % name]
    return []


def _compute_mode(case: Case) -> list[str]:
    shared = [dataclasses.replace(gpu, exclusive=False) for gpu in case.gpus]
    if any(gpu.exclusive for gpu in case.gpus) and case.solved(shared):
        return ["compute mode: default (nvidia-smi -c 0) lets several models share a GPU, and then the model fits"]
    return []


def _selectors(case: Case) -> list[str]:
    there = [out for out in case.left_out if out.gpu and not out.selected and not out.fault]
    for out in there:
        if out.gpu and case.solved(_with(case.gpus, out.gpu)):
            return ["%s: GPU %s (%s): %s; with it the model fits" % (out.cause, out.gpu.number, out.uuid, out.reason)]
    if len(there) > 1 and case.solved(_with(case.gpus, *(out.gpu for out in there if out.gpu))):
        options = " and ".join(dict.fromkeys(out.cause for out in there))
        return ["%s: %d GPUs are not selected; with all of them the model fits" % (options, len(there))]
    return []


def _batch(case: Case) -> list[str]:
    if (case.wanted.ubatch or 0) > 512 and case.solved(ubatch=512):
        return ["ubatch: 512 fits, instead of %d; prompts are processed more slowly" % (case.wanted.ubatch or 0)]
    return []


def _speculation(case: Case) -> list[str]:
    proposed = case.fitting.release.speculation(case.wanted.facts, case.wanted.drafted)
    if proposed.kind is None or not case.solved(drafted=0):
        return []
    return ["speculative: {type: none} makes the model fit; each token is then computed on its own"]


def _slots(case: Case) -> list[str]:
    now = case.wanted.parallel
    most = case.largest(1, now - 1, lambda number: {"parallel": number}) if case.may_run else None
    return ["parallel: at most %d fits, instead of %d" % (most, now)] if most else []


def _headroom(case: Case) -> list[str]:
    if case.wanted.headroom_bytes > GIB and case.solved(headroom_bytes=GIB):
        return ["headroom_bytes: %d (1 GiB) fits, instead of %d" % (GIB, case.wanted.headroom_bytes)]
    return []


def _context(case: Case) -> list[str]:
    now, step = case.wanted.context_length, 1024
    if not case.may_run:
        return []
    steps = case.largest(
        -(-policy.LEAST_CONTEXT // step),
        (now - 1) // step,
        lambda number: {"context_length": number * step, "auto_context": False},
    )
    return ["context_length: at most %d tokens fit, instead of %d" % (steps * step, now)] if steps else []


def _cache_type(case: Case) -> list[str]:
    facts = case.wanted.facts
    if case.wanted.flash_attention is False or not case.may_run:
        return []
    block_now, size_now = kv_cache.CACHE_TYPES[case.wanted.cache_type]
    if block_now > 1 and case.fitting.lacks_flash(case.wanted, case.gpus) and case.solved(kv_cache_type="f16"):
        return ["kv_cache_type: f16 makes the model fit"]
    for name in SMALLER_CACHE_TYPES:
        block, size = kv_cache.CACHE_TYPES[name]
        smaller = size * block_now < size_now * block
        divides = not (facts.key_length or 0) % block and not (facts.value_length or 0) % block
        if case.gpus and case.fitting.release.refused_cache(facts, name):
            continue
        if smaller and divides and case.solved(kv_cache_type=name):
            return ["kv_cache_type: %s makes the model fit" % name]
    return []


def _quantization(case: Case) -> list[str]:
    facts = case.wanted.facts
    size = facts.file_bytes or 0
    least = int(LEAST_BITS / 8 * facts.parameter_count * 100 / size) + 1 if facts.parameter_count else 30
    percent = case.largest(least, 99, lambda number: {"facts": scaled(facts, number)}) if case.may_run else None
    if not percent:
        return []
    return [
        "quantization: a build of at most %d %% of the size fits (%s instead of %s)"
        % (percent, gib(size * percent // 100), gib(size))
    ]


def scaled(facts: ModelFacts, percent: int) -> ModelFacts:
    """The facts of a model whose weights are quantized to a share of what they are."""

    def part(size: Optional[int]) -> int:
        return (size or 0) * percent // 100

    layers = [
        dataclasses.replace(layer, weight_bytes=part(layer.weight_bytes), expert_bytes=part(layer.expert_bytes))
        for layer in facts.layers
    ]
    return dataclasses.replace(
        facts,
        layers=layers,
        output_bytes=part(facts.output_bytes),
        embedding_bytes=part(facts.embedding_bytes),
        file_bytes=part(facts.file_bytes),
    )


def _repair(case: Case) -> list[str]:
    return [
        "GPU %s: %s; with it the model fits" % (out.uuid, out.reason)
        for out in case.left_out
        if out.selected
        and out.gpu
        and not out.lasting
        and case.solved(_with(case.gpus, dataclasses.replace(out.gpu, exclusive=False)))
    ]


def _foreign(case: Case) -> list[str]:
    holders = [gpu for gpu in case.gpus if gpu.foreign_bytes]
    for some in [[gpu] for gpu in holders] + ([holders] if len(holders) > 1 else []):
        freed = [_freed(gpu) if gpu in some else gpu for gpu in case.gpus]
        if case.solved(freed):
            where = " and ".join("%s of GPU %s (%s)" % (gib(gpu.foreign_bytes), gpu.number, gpu.uuid) for gpu in some)
            return ["other processes use %s; without them the model fits" % where]
    return []


def _freed(gpu: Gpu) -> Gpu:
    return dataclasses.replace(gpu, available_bytes=gpu.available_bytes + gpu.foreign_bytes)


def _more(case: Case) -> list[str]:
    if not case.gpus:
        if any(out.gpu and out.gpu.unified for out in case.left_out):
            return []  # such a host takes no further GPU
        room = GpuRoom(_new_gpu(ENDLESS), ENDLESS)
        bare = case.fitting.predict(case.wanted, [room], case.wanted.context_length)
        size = bare.total_bytes + case.wanted.headroom_bytes
        size = -(-size // GIB) * GIB
        if not case.solved([_new_gpu(size)]):
            return []
        return ["more GPUs: 1 with %s of free memory would hold the model" % gib(size)]
    if case.shared_memory:
        return []  # another GPU of this host would have the same memory
    # The first of those that have most: `max` returns it.
    like = _freed(max(case.gpus, key=lambda gpu: gpu.available_bytes + gpu.foreign_bytes))
    added: list[Gpu] = []
    for number in range(MOST_GPUS):
        added.append(dataclasses.replace(like, uuid="new-%d" % number, number=100 + number))
        if case.solved([*case.gpus, *added]):
            return [
                "more GPUs: %d more with %s of free memory each, and the model fits"
                % (len(added), gib(like.available_bytes))
            ]
    return []


def _experts(case: Case) -> list[str]:
    facts, release = case.wanted.facts, case.fitting.release
    some = any(layer.expert_bytes for layer in facts.layers)
    if not some or not case.gpus or case.shared_memory or not release.reads_engine_variables:
        return []
    if case.wanted.allow_cpu_offload or case.wanted.cpu_experts == ALL or case.wanted.num_gpu is not None:
        return []
    # As few as will do: the largest number of layers that keep their experts on a GPU.
    count = len(facts.layers)
    kept = case.largest(0, count - 1 - int(case.wanted.cpu_experts or 0), lambda kept: {"cpu_experts": count - kept})
    if kept is None:
        return []
    return [
        "cpu_experts: %d keeps the experts of %d of %d layers on the CPU, and the model fits; it is slower"
        % (count - kept, count - kept, count)
    ]


def _cpu(case: Case) -> list[str]:
    if case.shared_memory:
        return []  # what moves to the CPU stays in the same memory
    # The two options exclude each other (ask/model_settings.py).
    solved = None if case.wanted.allow_cpu_offload else case.solved(allow_cpu_offload=True, cpu_experts=None)
    if not solved or solved.placements[0].on_gpus_only:
        return []  # another strategy is what helps where it is on GPUs only
    return [
        "allow_cpu_offload: true%s runs the model %s, which is much slower"
        % (", without cpu_experts," if case.wanted.cpu_experts else "", on_cpu(solved.placements[0].predicted))
    ]


def _with(gpus: Sequence[Gpu], *more: Gpu) -> list[Gpu]:
    return sorted([*gpus, *more], key=lambda gpu: pci_order(gpu.pci_bus_id, gpu.uuid))


def _new_gpu(size: int) -> Gpu:
    return Gpu(
        uuid="new-0",
        index=0,
        number=0,
        pci_bus_id=None,
        name="GPU",
        architecture=None,
        compute_capability=None,
        total_bytes=size,
        available_bytes=size,
    )


# A setting, then what is slower or shorter, then another build, then work on the host, then money, then the CPU.
CHEAPEST_FIRST = (
    _strategy,
    _reserved,
    _library,
    _compute_mode,
    _selectors,
    _batch,
    _speculation,
    _slots,
    _headroom,
    host_remedies.fewer_experts,
    host_remedies.headroom,
    _context,
    _cache_type,
    _quantization,
    _repair,
    _foreign,
    host_remedies.free_memory,
    _more,
    _experts,
    _cpu,
)
