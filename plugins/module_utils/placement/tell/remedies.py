# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What would make a model fit that does not, ranked by what it costs the user. Each is tried before it is named."""

from __future__ import annotations

import dataclasses

from ...common.sizes import gib, on_cpu
from ...memory import kv_cache
from ..search import policy, ways
from ..search.fitting import Fitting
from ..search.host import Host

GIB = 1024**3
SMALLER_CACHE_TYPES = ("q8_0", "q4_0")
LEAST_BITS = 2.2  # of a weight: no usable build has less
MOST_GPUS = 8
ENDLESS = 1 << 50  # bytes
TRIES = 60  # of ways to place all models, for each remedy


class Case:
    """A host on which a model has no place, and the question whether a change would give it one.

    Args:
        choices: what policy.choose returned for all models.
        choice: the one of them without a place.
        gpus: usable GPUs. fitting: the Fitting. topology: facts of connections.
        left_out: GPUs that are there but not used, as gpus.usable_gpus gives them.
    """

    def __init__(self, choices, choice, gpus, fitting, topology=(), left_out=()):
        self.choices, self.choice, self.wanted = choices, choice, choice["wanted"]
        self.gpus, self.fitting, self.topology, self.left_out = gpus, fitting, topology, left_out

    def host(self):
        """The Host with no model on it."""
        return Host(self.gpus, self.topology)

    def solved(self, gpus=None, fitting=None, **changes):
        """The choice for the model after a change of its settings, of the GPUs or of the Fitting; None if it, or another
        one that had a place, then has none."""
        listed = [dict(one["wanted"], **changes) if one is self.choice else one["wanted"] for one in self.choices]
        # Most often this model alone has no place: then it is all or nothing.
        complete = all(one["placements"] or one is self.choice for one in self.choices) and not any(
            one["allow_cpu_offload"] for one in listed
        )
        fitting = self.fitting if fitting is None else fitting
        after = policy.choose(
            listed, self.gpus if gpus is None else gpus, fitting, self.topology, tries=TRIES, all_or_none=complete
        )[0]
        if after is None:
            return None
        lost = any(before["placements"] and not now["placements"] for before, now in zip(self.choices, after))
        mine = after[self.choices.index(self.choice)]
        return mine if mine["placements"] and not lost else None

    def largest(self, low, high, **named):
        """The largest number from low to high that, as the setting `named` (name=function of the number), solves it; or None."""
        name, value = next(iter(named.items()))
        best = None
        while low <= high:
            middle = (low + high) // 2
            if self.solved(**{name: value(middle)}):
                best, low = middle, middle + 1
            else:
                high = middle - 1
        return best


def remedies(case):
    """Sentences that name a setting and a value, cheapest first; empty if nothing that is tried helps."""
    found = []
    for remedy in CHEAPEST_FIRST:
        found.extend(remedy(case))
    return found


def _strategy(case):
    if case.wanted["strategy"] == "auto" or not case.gpus:
        return []
    for other in ("split", "single") if case.wanted["strategy"] != "split" else ("single",):
        solved = other != case.wanted["strategy"] and case.solved(strategy=other, replicas=None)
        if solved:
            count = len(solved["placements"][0]["gpus"])
            return ["strategy: %s fits, on %s" % (other, "one GPU" if count == 1 else "%d GPUs" % count)]
    return []


def _reserved(case):
    """Releases before 0.30 leave OLLAMA_GPU_OVERHEAD free on every GPU, beside the headroom of the plan."""
    variables = dict(case.fitting.variables)
    reserved = variables.pop("OLLAMA_GPU_OVERHEAD", None)
    if not case.fitting.release.keeps_gpu_overhead or not case.gpus or not int(reserved or 0):
        return []
    if case.solved(fitting=Fitting(case.fitting.release, case.fitting.overhead_bytes, variables)):
        return [
            "OLLAMA_GPU_OVERHEAD: without it in the environment the model fits; headroom_bytes keeps memory free as well"
        ]
    return []


def _compute_mode(case):
    if any(gpu["exclusive"] for gpu in case.gpus) and case.solved([dict(gpu, exclusive=False) for gpu in case.gpus]):
        return ["compute mode: default (nvidia-smi -c 0) lets several models share a GPU, and then it fits"]
    return []


def _selectors(case):
    there = [
        gpu for gpu in case.left_out if not gpu["selected"] and gpu["gpu"] and gpu["reason"] == "it is not selected"
    ]
    for gpu in there:
        if case.solved(_with(case.gpus, gpu["gpu"])):
            return [
                "selectors: GPU %s (%s) is not selected; with it the model fits" % (gpu["gpu"]["index"], gpu["uuid"])
            ]
    if len(there) > 1 and case.solved(_with(case.gpus, *[gpu["gpu"] for gpu in there])):
        return ["selectors: %d GPUs are not selected; with all of them the model fits" % len(there)]
    return []


def _batch(case):
    if (case.wanted["ubatch"] or 0) > 512 and case.solved(ubatch=512):
        return ["ubatch: 512 fits, instead of %d; prompts are read more slowly" % case.wanted["ubatch"]]
    return []


def _slots(case):
    most = case.largest(1, case.wanted["parallel"] - 1, parallel=lambda number: number) if case.gpus else None
    return ["parallel: at most %d fits, instead of %d" % (most, case.wanted["parallel"])] if most else []


def _headroom(case):
    if case.wanted["headroom_bytes"] > GIB and case.solved(headroom_bytes=GIB):
        return ["headroom_bytes: %d (1 GiB) fits, instead of %d" % (GIB, case.wanted["headroom_bytes"])]
    return []


def _context(case):
    now = ways.planned_context(case.wanted)
    step = 1024
    steps = (
        case.largest(-(-policy.LEAST_CONTEXT // step), (now - 1) // step, context_length=lambda number: number * step)
        if case.gpus
        else None
    )
    return ["context_length: at most %d tokens fit, instead of %d" % (steps * step, now)] if steps else []


def _cache_type(case):
    facts = case.wanted["facts"]
    now = kv_cache.CACHE_TYPES[case.wanted["kv_cache_type"] or "f16"]
    for name in SMALLER_CACHE_TYPES:
        block, size = kv_cache.CACHE_TYPES[name]
        if (
            size * now[0] >= now[1] * block
            or facts.key_length % block
            or facts.value_length % block
            or case.wanted["flash_attention"] is False
        ):
            continue
        if case.gpus and case.solved(kv_cache_type=name):
            return ["kv_cache_type: %s makes it fit" % name]
    return []


def _quantization(case):
    facts = case.wanted["facts"]
    size = facts.file_bytes
    least = int(LEAST_BITS / 8 * facts.parameter_count * 100 / size) + 1 if facts.parameter_count else 30
    percent = case.largest(least, 99, facts=lambda number: scaled(facts, number)) if case.gpus else None
    if not percent:
        return []
    return [
        "quantization: a build of at most %d %% of the size fits (%s instead of %s)"
        % (percent, gib(size * percent // 100), gib(size))
    ]


def scaled(facts, percent):
    """The facts of a model whose weights are quantized to a share of what they are."""

    def part(size):
        return size * percent // 100

    layers = [
        dict(layer, weight_bytes=part(layer["weight_bytes"]), expert_bytes=part(layer.get("expert_bytes") or 0))
        for layer in facts.layers
    ]
    sizes = {key: part(getattr(facts, key)) for key in ("output_bytes", "embedding_bytes", "file_bytes")}
    return dataclasses.replace(facts, layers=layers, **sizes)


def _repair(case):
    found = []
    for gpu in case.left_out:
        if gpu["selected"] and gpu["gpu"] and case.solved(_with(case.gpus, dict(gpu["gpu"], exclusive=False))):
            found.append("GPU %s: %s; with it the model fits" % (gpu["uuid"], gpu["reason"]))
    return found


def _foreign(case):
    holders = [gpu for gpu in case.gpus if gpu["foreign_bytes"]]
    for some in [[gpu] for gpu in holders] + ([holders] if len(holders) > 1 else []):
        freed = [
            dict(gpu, available_bytes=gpu["available_bytes"] + gpu["foreign_bytes"]) if gpu in some else gpu
            for gpu in case.gpus
        ]
        if case.solved(freed):
            where = " and ".join(
                "%s of GPU %s (%s)" % (gib(gpu["foreign_bytes"]), gpu["index"], gpu["uuid"]) for gpu in some
            )
            return ["other processes hold %s; without them the model fits" % where]
    return []


def _more(case):
    if not case.gpus:
        bare = case.fitting.predict(case.wanted, [_new_gpu(0, ENDLESS)], [ENDLESS], ways.planned_context(case.wanted))
        size = bare["devices"][0]["total_bytes"] + case.wanted["headroom_bytes"]
        size = -(-size // GIB) * GIB
        return (
            ["more GPUs: 1 with %s of free memory would hold it" % gib(size)]
            if case.solved([_new_gpu(0, size)])
            else []
        )
    like = max(case.gpus, key=lambda gpu: (gpu["available_bytes"] + gpu["foreign_bytes"], -case.gpus.index(gpu)))
    free = like["available_bytes"] + like["foreign_bytes"]
    for count in range(1, MOST_GPUS + 1):
        if case.solved(
            case.gpus
            + [dict(like, uuid="new-%d" % number, available_bytes=free, number=100 + number) for number in range(count)]
        ):
            return ["more GPUs: %d more with %s of free memory each, and it fits" % (count, gib(free))]
    return []


def _cpu(case):
    solved = None if case.wanted["allow_cpu_offload"] else case.solved(allow_cpu_offload=True)
    if not solved:
        return []
    placed = solved["placements"][0]
    if placed["outcome"] not in ("partial", "cpu"):
        return []  # another strategy is what helps here
    return ["allow_cpu_offload: true runs it %s, much slower" % on_cpu(placed["predicted"])]


def _with(gpus, *more):
    return sorted(gpus + list(more), key=lambda gpu: (str(gpu["pci_bus_id"]).lower(), gpu["uuid"]))


def _new_gpu(number, size):
    return {
        "uuid": "new-%d" % number,
        "index": number,
        "number": number,
        "pci_bus_id": None,
        "name": "GPU",
        "architecture": None,
        "compute_capability": None,
        "total_bytes": size,
        "available_bytes": size,
        "foreign_bytes": 0,
        "exclusive": False,
        "taken": None,
        "is_slice": False,
        "numa_node": None,
        "degraded": None,
    }


# A setting, then what is slower or shorter, then another build, then work on the host, then money, then the CPU.
CHEAPEST_FIRST = (
    _strategy,
    _reserved,
    _compute_mode,
    _selectors,
    _batch,
    _slots,
    _headroom,
    _context,
    _cache_type,
    _quantization,
    _repair,
    _foreign,
    _more,
    _cpu,
)
