# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs each model of a host goes to: all models together, deterministic, whatever the order of the GPUs."""

from __future__ import annotations

from ..scheduler import llama_fit
from . import subsets
from .applied import KEEP_CONTEXT, KEEP_SHARE, Applied
from .fitting import shortfall
from .request import AUTO, DEFAULT_CONTEXT
from .text import gib

CONTEXT_STEP = 256  # llama.cpp pads the context to this


class Host:
    """The GPUs of a host and what the models planned so far leave on each of them."""

    def __init__(self, gpus, topology=(), applied=None):
        self.gpus = gpus
        self.applied = applied or Applied()
        self.topology = topology
        self.left = {gpu["uuid"]: gpu["available_bytes"] for gpu in gpus}
        self.served = {gpu["uuid"]: 0 for gpu in gpus}

    def free(self, gpus):
        """Bytes that each of these GPUs has left."""
        return [self.left[gpu["uuid"]] for gpu in gpus]

    def open(self):
        """GPUs that can take a further process: one in exclusive mode takes only one."""
        return [gpu for gpu in self.gpus if not (gpu["exclusive"] and self.served[gpu["uuid"]])]

    def joinable(self):
        """GPUs that can be part of a set; CUDA gives a process at most one MIG slice."""
        return [gpu for gpu in self.open() if not gpu["is_slice"]]

    def take(self, placed):
        """Account for a model that was placed."""
        for device in placed["predicted"]["devices"]:
            self.left[device["uuid"]] -= device["total_bytes"]
            self.served[device["uuid"]] += 1


def choose(wanted, gpus, fitting, topology=(), applied=None):
    """Place all models of a host.

    Args:
        wanted: checked models of request.
        gpus: usable GPUs in PCI order.
        fitting: a Fitting for the version planned for.
        topology: facts about connections between GPUs.
        applied: the Applied of the host, or None.

    Returns:
        list in the order of `wanted`: dicts {wanted, strategy, reason, placements, shortfall_bytes}. placements is a
        list of {gpus, predicted, tensor_split, outcome}, one an instance; empty if the model cannot be placed.
    """
    host = Host(gpus, topology, applied)
    choices = {}
    for one in sorted(wanted, key=lambda item: _order(item, host, fitting)):
        choices[one["served"]] = _place(one, host, fitting, alone=len(wanted) == 1)
    for one in wanted:
        _replicate(choices[one["served"]], host, fitting, alone=len(wanted) == 1)
    for one in wanted:
        if one["context_length"] == AUTO:
            _grow_context(choices[one["served"]], host, fitting)
    for one in wanted:
        _pin(choices[one["served"]], host, fitting)
    return [choices[one["served"]] for one in wanted]


def planned_context(wanted):
    """Tokens to place a model with; "auto" is placed with the default and grown afterwards."""
    if wanted["context_length"] == AUTO:
        return min(DEFAULT_CONTEXT, wanted["facts"]["context_length"])
    return wanted["context_length"]


def _order(wanted, host, fitting):
    """Sets before single GPUs, large before small, then by name."""
    strategy = wanted["strategy"]
    context = planned_context(wanted)
    size = sum(fitting.estimate(wanted, [1], [0], context)["devices"][0][key] for key in ("weight_bytes", "kv_bytes", "compute_bytes"))
    if strategy == "spread":
        rank = 0
    elif strategy == "split" or (strategy == AUTO and not _single(wanted, host, fitting)):
        rank = 1
    else:
        rank = 2
    return (rank, -size, wanted["served"])


def _place(wanted, host, fitting, alone):
    strategy = wanted["strategy"]
    choice = {"wanted": wanted, "strategy": strategy, "reason": "", "placements": [], "shortfall_bytes": None, "attempt": None}
    if strategy in ("spread", "split"):
        placed = _spread(wanted, host, fitting) if strategy == "spread" else _split(wanted, host, fitting)
        reason = "strategy %s was asked for" % strategy
    else:
        placed = _single(wanted, host, fitting)
        reason = "strategy %s was asked for" % strategy if strategy != AUTO else None
        if strategy == AUTO:
            replicated = alone or (wanted["replicas"] or 1) > 1
            choice["strategy"] = "replicate" if replicated else "single"
            reason = "it fits one GPU" + (" and is the only model of the host" if alone else "")
            if placed is None and len(host.joinable()) > 1:
                split = _split(wanted, host, fitting)
                if split and not split["shortfall_bytes"]:
                    placed = split
                    choice["strategy"] = "split"
                    reason = "no single GPU has room for it"
    if placed and not placed["shortfall_bytes"]:
        placed["outcome"] = "split" if len(placed["gpus"]) > 1 else "single"
        return _accept(choice, placed, host, reason)
    if wanted["allow_cpu_offload"]:
        choice["strategy"] = "split" if len(host.joinable()) > 1 else "single"
        return _accept(choice, _offload(wanted, host, fitting), host, "the GPUs do not hold it, and layers on the CPU are allowed")
    choice["attempt"] = placed if placed else _closest(wanted, host, fitting)
    choice["shortfall_bytes"] = choice["attempt"]["shortfall_bytes"] if choice["attempt"] else None
    if strategy == AUTO:
        choice["strategy"] = "split" if len(host.joinable()) > 1 else "single"
    return choice


def _accept(choice, placed, host, reason):
    host.take(placed)
    choice["placements"].append(placed)
    choice["reason"] = "%s: %s" % (_needs(placed), reason)
    return choice


def _needs(placed):
    devices = placed["predicted"]["devices"]
    if not devices:
        return "no GPU"
    return "%s on %s" % (gib(sum(device["total_bytes"] for device in devices)), "1 GPU" if len(devices) == 1 else "%d GPUs" % len(devices))


def _single(wanted, host, fitting, exclude=()):
    """The GPU that is emptiest with the model on it, or None if no GPU holds it. The one that serves it now is kept if
    it is hardly fuller."""
    best = None
    serving = [uuids[0] for uuids in host.applied.sets(wanted["served"]) if len(uuids) == 1]
    for gpu in host.open():
        if gpu["uuid"] in exclude:
            continue
        placed = fitting.place(wanted, [gpu], host.free([gpu]), planned_context(wanted))
        if placed["shortfall_bytes"]:
            continue
        left = host.left[gpu["uuid"]] - placed["predicted"]["devices"][0]["total_bytes"]
        if gpu["uuid"] in serving:
            left += KEEP_SHARE * gpu["total_bytes"]
        if best is None or left * best[1]["total_bytes"] > best[0] * gpu["total_bytes"]:
            best = (left, gpu, placed)
    return best[2] if best else None


def _split(wanted, host, fitting):
    """The smallest set of at least two GPUs that holds the model; the closest attempt if none does."""
    closest = None
    for members in subsets.candidates(host.joinable(), host.left, host.topology):
        placed = fitting.place(wanted, members, host.free(members), planned_context(wanted), every_gpu=True)
        if not placed["shortfall_bytes"]:
            return _kept_split(wanted, host, fitting, len(members)) or placed
        if closest is None or placed["shortfall_bytes"] < closest["shortfall_bytes"]:
            closest = placed
    return closest


def _kept_split(wanted, host, fitting, size):
    """The set of this many GPUs that serves the model now, if it still holds it."""
    for uuids in host.applied.sets(wanted["served"]):
        members = [gpu for gpu in host.joinable() if gpu["uuid"] in uuids]
        if len(members) == len(uuids) == size:
            placed = fitting.place(wanted, members, host.free(members), planned_context(wanted), every_gpu=True)
            if not placed["shortfall_bytes"]:
                return placed
    return None


def _spread(wanted, host, fitting):
    """All GPUs together; with only one GPU that one."""
    members = host.joinable()
    if not members:
        return None
    return fitting.place(wanted, members, host.free(members), planned_context(wanted), every_gpu=len(members) > 1)


def _closest(wanted, host, fitting):
    """The attempt with the least shortfall, to explain why a model does not fit."""
    attempts = [fitting.place(wanted, [gpu], host.free([gpu]), planned_context(wanted)) for gpu in host.open()]
    if wanted["strategy"] not in ("single", "replicate") and len(host.joinable()) > 1:
        attempts.append(_split(wanted, host, fitting))
        attempts.append(_spread(wanted, host, fitting))
    attempts = [attempt for attempt in attempts if attempt]
    return min(attempts, key=lambda attempt: attempt["shortfall_bytes"]) if attempts else None


def alternatives(choice, gpus, fitting, topology=()):
    """The ways that were not taken, with their numbers.

    Args:
        choice: what `choose` returned for the model.
        gpus: usable GPUs with the memory that the other models of the host leave.

    Returns:
        list of {strategy, gpu_uuids, total_bytes, shortfall_bytes} (bytes on all GPUs of one instance; 0 missing = it
        would fit as well).
    """
    wanted = choice["wanted"]
    host = Host(gpus, topology)
    attempts = {"single": None, "split": None, "spread": None}
    for gpu in host.open():
        placed = fitting.place(wanted, [gpu], host.free([gpu]), planned_context(wanted))
        if attempts["single"] is None or placed["shortfall_bytes"] < attempts["single"]["shortfall_bytes"]:
            attempts["single"] = placed
    if len(host.joinable()) > 1:
        attempts["split"] = _split(wanted, host, fitting)
        attempts["spread"] = _spread(wanted, host, fitting) if len(host.joinable()) > 2 else None
    taken = [sorted(gpu["uuid"] for gpu in placed["gpus"]) for placed in choice["placements"]]
    found = []
    for strategy, placed in attempts.items():
        if placed and sorted(gpu["uuid"] for gpu in placed["gpus"]) not in taken:
            found.append(
                {
                    "strategy": strategy,
                    "gpu_uuids": [gpu["uuid"] for gpu in placed["gpus"]],
                    "total_bytes": sum(device["total_bytes"] for device in placed["predicted"]["devices"]),
                    "shortfall_bytes": placed["shortfall_bytes"],
                }
            )
    return found


def _offload(wanted, host, fitting):
    """Part of the layers on the CPU: what llama.cpp's fit leaves on all GPUs together, or the CPU alone."""
    members = host.joinable() or host.open()[:1]
    context = planned_context(wanted)
    if members:
        free = host.free(members)
        bare = fitting.predict(wanted, members, free, context)
        held = [device["overhead_bytes"] for device in bare["devices"]]
        projector = wanted["facts"]["projector_bytes"]
        margin = max(llama_fit.MARGIN_BYTES, wanted["headroom_bytes"]) + projector
        fitted = llama_fit.fit(
            wanted["facts"],
            [size - part for size, part in zip(free, held)],
            context,
            wanted["parallel"],
            bare["ubatch"],
            wanted["kv_cache_type"] or "f16",
            wanted["flash_attention"] is not False,
            gpu_layers=wanted["num_gpu"] if (wanted["num_gpu"] or -1) >= 0 else None,
            margins=[margin] * len(members),
        )
        layers = fitted["layers"]
        if sum(layers) and wanted["num_gpu"] != 0:
            predicted = fitting.predict(wanted, members, free, context, layers, sum(layers), fitted["moved"])
            full = predicted["fully_on_gpu"]
            outcome = ("split" if sum(1 for count in layers if count) > 1 else "single") if full else "partial"
            return {"gpus": members, "predicted": predicted, "tensor_split": None, "shortfall_bytes": 0, "outcome": outcome}
    return {"gpus": [], "predicted": fitting.predict(wanted, [], [], context), "tensor_split": None, "shortfall_bytes": 0, "outcome": "cpu"}


def _replicate(choice, host, fitting, alone):
    """Add the further instances of a model, one a GPU, as many as are asked for and fit."""
    wanted = choice["wanted"]
    if choice["strategy"] not in ("replicate", "single") or not choice["placements"] or choice["placements"][0]["outcome"] != "single":
        return
    if choice["strategy"] == "single" and (wanted["replicas"] or 1) == 1:
        return
    if wanted["replicas"]:
        limit = wanted["replicas"]
    else:
        limit = len(host.gpus)
    while len(choice["placements"]) < limit:
        used = [gpu["uuid"] for placed in choice["placements"] for gpu in placed["gpus"]]
        placed = _single(wanted, host, fitting, exclude=used)
        if placed is None:
            break
        placed["outcome"] = "single"
        host.take(placed)
        choice["placements"].append(placed)
    choice["placements"].sort(key=lambda placed: host.gpus.index(placed["gpus"][0]))


def _grow_context(choice, host, fitting):
    """Give a model whose context is "auto" the largest that fits where it was placed."""
    wanted = choice["wanted"]
    if not choice["placements"] or choice["placements"][0]["outcome"] in ("partial", "cpu"):
        return

    def grown(context):
        result = []
        for placed in choice["placements"]:
            free = [device["free_bytes"] + _returned(host, device) for device in placed["predicted"]["devices"]]
            again = fitting.place(wanted, placed["gpus"], free, context, every_gpu=len(placed["gpus"]) > 1)
            if again["shortfall_bytes"]:
                return None
            again["outcome"] = placed["outcome"]
            result.append(again)
        return result

    start = planned_context(wanted) // CONTEXT_STEP
    low, high, best = start, wanted["facts"]["context_length"] // CONTEXT_STEP, None
    while low <= high:
        middle = (low + high) // 2
        fitting_now = grown(middle * CONTEXT_STEP) if middle else None
        if fitting_now:
            best, low = fitting_now, middle + 1
        else:
            high = middle - 1
    now = host.applied.context_length(wanted["served"])
    if best and now and now <= best[0]["predicted"]["context_length"] <= now * (1 + KEEP_CONTEXT):
        best = grown(now) or best
    if best:
        for old in choice["placements"]:
            for device in old["predicted"]["devices"]:
                host.left[device["uuid"]] += device["total_bytes"]
        for new in best:
            host.take(new)
        choice["placements"] = best


def _returned(host, device):
    """Correction from what a device had when the model was placed to what it has now without the model."""
    return host.left[device["uuid"]] + device["total_bytes"] - device["free_bytes"]


def _pin(choice, host, fitting):
    """Write the layers per GPU down where other models share the GPUs: the engine splits by the memory that is free
    when it loads, so its split would depend on which model comes first."""
    for placed in choice["placements"]:
        layers = [device["layers"] for device in placed["predicted"]["devices"]]
        shared = any(host.served[gpu["uuid"]] > 1 for gpu in placed["gpus"])
        if placed["outcome"] == "split" and shared and all(layers) and not choice["wanted"]["allow_cpu_offload"]:
            placed["tensor_split"] = layers
            kept = host.applied.layers(choice["wanted"]["served"], [gpu["uuid"] for gpu in placed["gpus"]])
            if kept and kept != layers:
                _keep_layers(choice["wanted"], placed, kept, fitting)


def _keep_layers(wanted, placed, layers, fitting):
    """Stay with the layers that are in force if they still fit."""
    free = [device["free_bytes"] for device in placed["predicted"]["devices"]]
    predicted = fitting.predict(wanted, placed["gpus"], free, placed["predicted"]["context_length"], layers)
    if predicted["fully_on_gpu"] and not shortfall(predicted):
        placed["predicted"], placed["tensor_split"] = predicted, layers
