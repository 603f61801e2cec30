# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The ways in which one model can be put on a host as it is: best first. Nothing is taken from the host here."""

from __future__ import annotations

from ...releases import llama_fit
from ..ask.applied import KEEP_SHARE, KEEP_SPLIT
from ..ask.request import AUTO, DEFAULT_CONTEXT
from . import confirm, subsets
from .fitting import shortfall


def planned_context(wanted):
    """Tokens to place a model with; "auto" is placed with a default and grown afterwards."""
    if wanted["context_length"] == AUTO:
        return min(wanted.get("start_context", DEFAULT_CONTEXT), wanted["facts"].context_length)
    return wanted["context_length"]


def place(wanted, gpus, host, fitting, context_length=None):
    """Fitting.place beside what the host holds already; what runs there already may have lost a part of its headroom, and
    keeps its layers while they fit."""
    context_length = context_length or planned_context(wanted)
    allowance = host.applied.allowance(wanted, gpus, context_length)
    wanted, free, several = host.beside(wanted, gpus), host.free(gpus), len(gpus) > 1
    layers, pinned, batch = host.applied.in_force(wanted, gpus, context_length)

    def fitted(ubatch):
        """As the version would place it, but with the layers that are in force where these fit as well."""
        asked = dict(wanted, ubatch=ubatch)
        placed = (
            None if pinned else fitting.place(asked, gpus, free, context_length, several, allowance, layers is not None)
        )
        if not layers or (placed and (placed["shortfall_bytes"] or placed["batch"])):
            return placed
        kept = fitting.predict(asked, gpus, free, context_length, layers)
        if shortfall(kept, allowance) or [device["layers"] for device in kept["devices"]] != layers:
            return placed
        if placed:
            alike = _alike(gpus, placed["predicted"]["devices"], kept["devices"])
            return dict(placed, predicted=kept, tensor_split=placed["tensor_split"] and layers) if alike else placed
        return {"gpus": gpus, "predicted": kept, "tensor_split": layers, "batch": None, "shortfall_bytes": 0}

    if pinned:
        kept = fitted(wanted["ubatch"] or batch)
        if kept:
            return dict(kept, batch=batch)
        pinned = False
    placed = fitted(wanted["ubatch"])
    if batch and (placed["shortfall_bytes"] or not roomy(placed)):
        kept = fitted(batch)
        if not kept["shortfall_bytes"]:
            return dict(kept, batch=batch)
    return placed


def _alike(gpus, one, other):
    """Whether two ways to divide a model between these GPUs differ by a layer, or by little of the GPUs' memory."""
    layers = max(abs(device["layers"] - same["layers"]) for device, same in zip(one, other))
    shares = [
        abs(device["total_bytes"] - same["total_bytes"]) / float(gpu["total_bytes"])
        for gpu, device, same in zip(gpus, one, other)
    ]
    return layers <= 1 or max(shares) <= KEEP_SPLIT


def fits(wanted, gpus, host, fitting, context_length=None):
    """What `place` gives if the model fits there, else None: quicker where it is far from fitting."""
    context_length = context_length or planned_context(wanted)
    beside, free = host.beside(wanted, gpus), host.free(gpus)
    if not fitting.may_fit(beside, gpus, free, context_length, host.applied.allowance(wanted, gpus, context_length)):
        return None
    placed = place(wanted, gpus, host, fitting, context_length)
    return None if placed["shortfall_bytes"] else placed


def leaves_layers(wanted):
    """Whether the user's num_gpu leaves layers on the CPU, whatever the GPUs could hold."""
    return wanted["num_gpu"] is not None and 0 <= wanted["num_gpu"] <= wanted["facts"].block_count


def all_ways(wanted, host, fitting, alone):
    """Ways with all layers on GPUs that fit, best first: (strategy, reason, placed).

    Args:
        alone: whether it is the only model of the host.
    """
    if leaves_layers(wanted):
        return
    asked = wanted["strategy"]
    if asked == "spread":
        members = _everything(host)
        placed = fits(wanted, members, host, fitting) if members else None
        if placed:
            yield asked, "strategy spread was asked for", placed
    elif asked == "split":
        for placed in splits(wanted, host, fitting):
            yield asked, "strategy split was asked for", placed
    elif asked != AUTO:
        for placed in singles(wanted, host, fitting):
            yield asked, "strategy %s was asked for" % asked, placed
    else:
        yield from _auto(wanted, host, fitting, alone)


def _auto(wanted, host, fitting, alone):
    strategy = "replicate" if alone or (wanted["replicas"] or 1) > 1 else "single"
    reason = "it fits one GPU" + (" and is the only model of the host" if alone else "")
    found = False
    for placed in singles(wanted, host, fitting):
        if not found and not roomy(placed):
            # It serves from several GPUs now: only for a GPU that is roomy enough to stay on is that given up.
            for kept in kept_splits(wanted, host, fitting):
                yield "split", "it is split already, and one GPU would hardly hold it", kept
        found = True
        yield strategy, reason, placed
    for placed in splits(wanted, host, fitting):
        yield (
            "split",
            "no single GPU has room for it"
            if not found
            else "together with the other models no single GPU has room for it",
            placed,
        )


def roomy(placed):
    """Whether a placement leaves so much that small changes of the free memory will not end it."""
    kept = placed["predicted"]["headroom_bytes"]
    return all(
        device["room_bytes"] - device["total_bytes"] - kept >= KEEP_SHARE * gpu["total_bytes"]
        for device, gpu in zip(placed["predicted"]["devices"], placed["gpus"])
    )


def singles(wanted, host, fitting, exclude=()):
    """Single GPUs that hold the model, the emptiest with it on it first. One that serves it now comes first if it is
    hardly fuller."""
    serving = [uuids[0] for uuids in host.applied.sets(wanted["served"]) if len(uuids) == 1]
    found = []
    for gpu in host.open():
        if gpu["uuid"] in exclude:
            continue
        placed = fits(wanted, [gpu], host, fitting)
        if not placed:
            continue
        left = (host.left[gpu["uuid"]] - placed["predicted"]["devices"][0]["total_bytes"]) / float(gpu["total_bytes"])
        if gpu["uuid"] in serving:
            left += KEEP_SHARE
        found.append((bool(gpu["degraded"]) and gpu["uuid"] not in serving, -left, host.gpus.index(gpu), placed))
    for item in sorted(found, key=lambda entry: entry[:3]):
        yield item[3]


def splits(wanted, host, fitting):
    """Sets of at least two GPUs that hold the model: the smallest first; the one that serves it now before others of
    its size."""
    size = None
    for members in subsets.candidates(host.joinable(), host.left, host.topology):
        if len(members) != size:
            size = len(members)
            yield from kept_splits(wanted, host, fitting, size)
        placed = fits(wanted, members, host, fitting)
        if placed:
            yield placed


def kept_splits(wanted, host, fitting, size=None):
    """The sets of GPUs (of this size) that serve the model now, if they still hold it."""
    for uuids in host.applied.sets(wanted["served"]):
        members = [gpu for gpu in host.joinable() if gpu["uuid"] in uuids]
        if len(members) == len(uuids) > 1 and size in (None, len(members)):
            placed = fits(wanted, members, host, fitting)
            if placed:
                yield placed


def spread(wanted, host, fitting):
    """All GPUs together, fitting or not; with only one GPU that one. None without a GPU."""
    members = _everything(host)
    return place(wanted, members, host, fitting) if members else None


def _everything(host):
    return host.joinable() or host.open()[:1]


def closest_split(wanted, host, fitting):
    """The best set of at least two GPUs that holds the model, or else the one that comes closest to it: the emptiest of
    each size are tried. None without two GPUs."""
    found = next(splits(wanted, host, fitting), None)
    if found:
        return found
    emptiest = sorted(host.joinable(), key=lambda gpu: (-host.left[gpu["uuid"]], host.gpus.index(gpu)))
    attempts = []
    for size in range(2, len(emptiest) + 1):
        members = [gpu for gpu in host.gpus if gpu in emptiest[:size]]
        attempts.append(place(wanted, members, host, fitting))
    return min(attempts, key=lambda placed: placed["shortfall_bytes"]) if attempts else None


def emptiest_single(wanted, host, fitting):
    """The GPU with most left, fitting or not; None without a GPU."""
    gpus = sorted(host.open(), key=lambda gpu: (-host.left[gpu["uuid"]], host.gpus.index(gpu)))
    return place(wanted, gpus[:1], host, fitting) if gpus else None


def closest(wanted, host, fitting):
    """The attempt with the least shortfall, to explain why a model does not fit."""
    emptiest = emptiest_single(wanted, host, fitting)
    attempts = [emptiest] if emptiest else []
    if wanted["strategy"] not in ("single", "replicate") and len(host.joinable()) > 1:
        attempts = attempts if wanted["strategy"] == AUTO else []
        attempts.append(spread(wanted, host, fitting))
        if wanted["strategy"] != "spread" and len(host.joinable()) > 2:
            attempts.append(closest_split(wanted, host, fitting))
    attempts = [attempt for attempt in attempts if attempt]
    return min(attempts, key=lambda attempt: attempt["shortfall_bytes"]) if attempts else None


def offload(wanted, host, fitting):
    """Part of the layers on the CPU: what the version's own fitting leaves on the GPUs, or the CPU alone."""
    members = host.joinable() or host.open()[:1]
    if wanted["strategy"] in ("single", "replicate") and members:
        members = [max(members, key=lambda gpu: (host.left[gpu["uuid"]], -host.gpus.index(gpu)))]
    context = planned_context(wanted)
    while members and wanted["num_gpu"] != 0 and not fitting.lacks_flash(wanted, members):
        beside, free = host.beside(wanted, members), host.free(members)
        layers, moved, reserve = _own_fit(beside, members, free, context, fitting)
        if not sum(layers):
            break
        predicted = fitting.predict(beside, members, free, context, layers, sum(layers), moved)
        used = [gpu for gpu, device in zip(members, predicted["devices"]) if device["weight_bytes"]]
        if len(used) < len(members):
            members = used  # a GPU without a layer would only hold a context, and verification would miss it
            continue
        full = predicted["fully_on_gpu"]
        outcome = ("split" if sum(1 for count in layers if count) > 1 else "single") if full else "partial"
        return dict(_placed(members, predicted, outcome), reserve=reserve)
    return _placed([], fitting.predict(host.beside(wanted, []), [], [], context), "cpu")


def _placed(gpus, predicted, outcome):
    return {
        "gpus": gpus,
        "predicted": predicted,
        "tensor_split": None,
        "batch": None,
        "shortfall_bytes": 0,
        "outcome": outcome,
    }


def _own_fit(wanted, members, free, context, fitting):
    """(layers per GPU, weights that lie elsewhere than their layer, bytes that the version must be told to leave free), as
    the version itself would load the model."""
    bare = fitting.predict(wanted, members, free, context)
    num_gpu = wanted["num_gpu"] if (wanted["num_gpu"] or -1) >= 0 else None
    if not fitting.release.layers_can_be_set:
        layers, reserve = confirm.partial_layers(fitting, wanted, members, bare, num_gpu)
        return layers, None, reserve
    margin = max(llama_fit.MARGIN_BYTES, wanted["headroom_bytes"]) + wanted["facts"].projector_bytes
    flash = fitting.release.flash_attention(wanted["flash_attention"], members)
    fitted = llama_fit.fit(
        wanted["facts"],
        [size - device["overhead_bytes"] for size, device in zip(free, bare["devices"])],
        fitting.load(wanted, context, bare["ubatch"], flash != "off"),
        llama_fit.FitOptions(gpu_layers=num_gpu, margins=[margin] * len(members)),
    )
    return fitted.layers, fitted.moved, 0
