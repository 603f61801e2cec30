# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the user of a plan should know about its GPUs and models: the plan's `warnings`."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from ...common.sizes import gib
from ...memory import compute
from ...memory import speculation as memory
from ...releases import speculation
from ...releases.release import Release
from ..left_out import LeftOutGpu
from ..search.experts import moved_experts
from ..shapes import Choice, Gpu, Placed, Wanted
from .words import on_cpu


def of_gpus(gpus: Sequence[Gpu], left_out: Sequence[LeftOutGpu]) -> list[str]:
    """What the user should know of the GPUs: those that are left out, that are degraded, that others use."""
    return (
        ["GPU %s is left out: %s." % (gpu.uuid, gpu.reason) for gpu in left_out if gpu.selected]
        + ["GPU %s (%s) is degraded: %s." % (gpu.number, gpu.uuid, gpu.degraded) for gpu in gpus if gpu.degraded]
        + [
            "Other processes use %s of GPU %s (%s), which the plan does not count on."
            % (gib(gpu.foreign_bytes), gpu.number, gpu.uuid)
            for gpu in gpus
            if gpu.foreign_bytes
        ]
    )


def of_unlisted(gpu_inventory: dict[str, Any]) -> list[str]:
    """GPUs on the PCI bus that the driver does not list."""
    return [
        "The driver does not list the GPU at %s, so the plan does not use it." % address
        for address in gpu_inventory.get("unlisted") or []
    ]


def of_unseen_processes(gpu_inventory: dict[str, Any], gpus: Sequence[Gpu]) -> list[str]:
    """GPUs of the plan whose processes the driver does not tell, and GPUs of Windows.

    Under WSL, older drivers list no processes, newer ones list them without their memory (Syllo/nvtop#432), and NVML's
    free memory is that of the whole GPU, of which CUDA gets a share that Windows decides.
    """
    used = {gpu.uuid: gpu.number for gpu in gpus}
    unseen = [
        "The driver does not tell which processes use GPU %s (%s), as under WSL: the services count with what the "
        "applied plan has for their models, and CUDA may give less than the free memory that NVML tells; raise "
        "headroom_bytes." % (used[fact["uuid"]], fact["uuid"])
        for fact in gpu_inventory.get("gpus") or []
        if fact.get("uuid") in used and "processes" in (fact.get("unsupported") or [])
    ]
    if unseen or not used or not gpu_inventory.get("wsl"):
        return unseen
    return [
        "This host is WSL, and Windows decides how much of its GPUs' memory CUDA gets: it may be less than the free "
        "memory that NVML tells, which the plan counts on. Raise headroom_bytes if a model does not load."
    ]


def _of_registry(wanted: Wanted) -> list[str]:
    """Whether the header that the registry serves is that of the file."""
    there = wanted.facts.registry_digest
    if there is None or there != wanted.facts.digest:
        return []
    return [
        "The registry served another header for %s than its file on the host has; the plan is made for the file. "
        "Use another registry." % wanted.name
    ]


def of_moved_tags(all_wanted: Sequence[Wanted]) -> list[str]:
    """Models and draft models that the host has and that a registry has another one for by now."""
    found = [(one.name, one.facts, "", ", or digest: %s to stay" % one.facts.digest) for one in all_wanted]
    found += [
        (one.draft_name, one.facts.draft, " of %s" % one.name, "")
        for one in all_wanted
        if one.draft_name is not None and one.facts.draft is not None
    ]
    return [
        "%s on the host has the digest %s, and the registry now has %s under that name; the plan is made for the model "
        "on the host. Set refresh: true%s to get the new one, which replaces it once it is proven%s."
        % (name, facts.digest, facts.registry_digest, whose, stay)
        for name, facts, whose, stay in found
        if facts.registry_digest not in (None, facts.digest)
    ]


def of_speculation(choice: Choice, release: Release) -> list[str]:
    """What the user should know of the tokens that are to be proposed for a model that has a place."""
    wanted = choice.wanted
    if not choice.placements:
        return []
    found = release.speculation(wanted.facts, wanted.drafted)
    if found.kind is None:
        if not wanted.drafted or wanted.drafted < 0:
            return []
        why = "Ollama %s has no speculative decoding" % release.version
        if not speculation.can_speculate(wanted.facts):
            why = "it has neither heads that predict further tokens (nextn_predict_layers) nor a draft model"
        return ["draft_num_predict %d of %s has no effect: %s." % (wanted.drafted, wanted.name, why)]
    if speculation.has_no_graph(wanted.facts, found):
        return [
            "%s has heads that predict further tokens (nextn_predict_layers), and llama.cpp of build 11669 runs none "
            "of the architecture %s: unless the engine of Ollama %s does, it ends with an error. Set speculative: "
            "{type: none} then." % (wanted.name, wanted.facts.architecture, release.version)
        ]
    if speculation.cannot_start(wanted.facts, found):
        return [
            "The draft model of %s (%s) has no heads that predict further tokens, and the engine of Ollama %s ends "
            'with an error where it finds none ("failed to create MTP context"); if it does, set speculative: {type: '
            "none}." % (wanted.name, wanted.facts.draft.architecture if wanted.facts.draft else "", release.version)
        ]
    if wanted.facts.draft is None and speculation.has_renamed_heads(wanted.facts):
        return [
            "The heads of %s are named as in older files of Ollama, and the memory of their context is not predicted; "
            "keep more headroom_bytes, or set speculative: {type: none}." % wanted.name
        ]
    return [] if memory.is_compared(wanted.facts, found.kind) else [_estimated_proposals(wanted)]


def _estimated_proposals(wanted: Wanted) -> str:
    draft = wanted.facts.draft
    return (
        "The compute buffer of what proposes tokens for %s (%s of the architecture %s) is a careful estimate, because "
        "it has not been compared with the engine. For heads that were, such an estimate is %g to %g times what the "
        "engine takes. If the GPU needs the room, set speculative: {type: none}."
        % (
            wanted.name,
            "its own heads" if draft is None else "its draft model",
            (draft or wanted.facts).architecture,
            *memory.ESTIMATE_RANGE,
        )
    )


def of_model(choice: Choice, capacity: Optional[dict[str, int]], gpu_count: int = 0) -> list[str]:
    """What the user should know of the placements of a model.

    Args:
        capacity: as capacity.capacity returns it.
        gpu_count: number of GPUs of the host that can be part of a set.
    """
    if not choice.placements:
        return []
    wanted, placed = choice.wanted, choice.placements[0]
    notes = []
    if compute.is_estimated(wanted.facts):
        notes.append(
            "The compute buffers of %s are a careful estimate: its architecture (%s) has not been compared with the "
            "engine." % (wanted.name, wanted.facts.architecture)
        )
    if wanted.facts.projector_separate and not wanted.facts.projector_bytes:
        notes.append(
            "The projector of %s is not counted, because a server does not tell its size: read the model with source: "
            "registry, or with source: store on its host." % wanted.name
        )
    notes.extend(_of_registry(wanted))
    notes.extend(_fewer_replicas(choice, capacity, gpu_count))
    if wanted.strategy == "spread" and len(placed.gpus) == 1:
        notes.append("%s is to be spread over all GPUs, but there is only one." % wanted.name)
    elif wanted.strategy == "spread" and len(placed.gpus) < gpu_count:
        notes.append(
            "%s is spread over %d of the %d GPUs, as one process of this Ollama version cannot use more together."
            % (wanted.name, len(placed.gpus), gpu_count)
        )
    if not placed.on_gpus_only:
        notes.append("%s runs %s, as allow_cpu_offload permits." % (wanted.name, on_cpu(placed.predicted)))
    if wanted.cpu_experts and placed.gpus:
        notes.append(
            "%s runs %s: the experts of %d of its %d layers, as cpu_experts asks."
            % (wanted.name, on_cpu(placed.predicted), len(moved_experts(wanted)), wanted.facts.block_count)
        )
    for one in choice.placements:
        notes.extend(_of_placement(wanted.name, one))
    if placed.split_is_set:
        notes.append(
            "LLAMA_ARG_TENSOR_SPLIT sets the layers per GPU of %s, so that they do not depend on the memory that is "
            "free when it loads." % wanted.name
        )
    return notes


def _fewer_replicas(choice: Choice, capacity: Optional[dict[str, int]], gpu_count: int) -> list[str]:
    wanted, count = choice.wanted, len(choice.placements)
    if not wanted.replicas or count >= wanted.replicas:
        return []
    placed = choice.placements[0]
    note = "%s gets %d of the %d replicas asked for: " % (wanted.name, count, wanted.replicas)
    if not placed.gpus:
        note += "each takes a GPU of its own, and it runs on the CPU, where one instance is all that a host has"
    elif not placed.on_gpus_only:
        note += "each takes a GPU of its own, and a part of it is on the CPU"
    elif len(placed.gpus) > 1:
        note += "each takes a GPU of its own, and it is split over %d" % len(placed.gpus)
    elif count == gpu_count:
        note += "each takes a GPU of its own, and there are only %d; did you mean replicas: %d" % (count, count)
    else:
        note += "no further GPU has room for one"
    if capacity and capacity["most_parallel"] > wanted.parallel:
        note += "; instead, parallel could be up to %d, where each further slot takes %s" % (
            capacity["most_parallel"],
            gib(capacity["slot_bytes"]),
        )
    return [note + "."]


def _of_placement(name: str, placed: Placed) -> list[str]:
    notes = []
    missing = placed.predicted.shortfall()
    if missing and not placed.shortfall_bytes:
        notes.append(
            "%s stays where it runs, although other processes use %s of its headroom of %s."
            % (name, gib(missing), gib(placed.predicted.headroom_bytes))
        )
    if placed.batch and placed.batch_is_lowered:
        notes.append(
            "%s fits only with a batch of %d tokens, which num_batch sets; prompts are processed more slowly."
            % (name, placed.batch)
        )
    return notes
