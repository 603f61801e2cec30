# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What would make a model fit that does not, ranked by what it costs the user; each is tried, not guessed."""

from __future__ import annotations

from ..memory import kv_cache, overhead
from . import policy
from .text import gib

LEAST_CONTEXT = 2048  # less is hardly of use to anyone
SMALLER_CACHE_TYPES = ("q8_0", "q4_0")


def remedies(choice, gpus, fitting, topology=(), left_out=()):
    """Sentences that name a variable and a value, cheapest first: context, KV type, quantization, GPUs, CPU.

    Args:
        choice: what policy.choose returned for a model without placements.
        gpus: usable GPUs with the memory that the other models of the host leave.
        left_out: GPUs that are there but not usable, with the reason.
    """
    wanted = choice["wanted"]
    found = []
    if gpus:
        found.extend(_context(wanted, gpus, fitting, topology))
        found.extend(_cache_type(wanted, gpus, fitting, topology))
        found.extend(_quantization(wanted, choice, gpus))
    found.extend(_gpus(choice, gpus, fitting, left_out))
    if not wanted["allow_cpu_offload"]:
        found.append("allow_cpu_offload: true would run the layers that do not fit on the CPU, much slower")
    return found


def _fits(wanted, gpus, fitting, topology, **changes):
    changed = dict(wanted, replicas=None, allow_cpu_offload=False, **changes)
    choice = policy.choose([changed], gpus, fitting, topology)[0]
    return bool(choice["placements"])


def _context(wanted, gpus, fitting, topology):
    now = policy.planned_context(wanted)
    step = policy.CONTEXT_STEP * 4
    low, high, best = LEAST_CONTEXT // step, (now - 1) // step, 0
    while low <= high:
        middle = (low + high) // 2
        if _fits(wanted, gpus, fitting, topology, context_length=middle * step):
            best, low = middle * step, middle + 1
        else:
            high = middle - 1
    if not best:
        return []
    return ["context_length: at most %d tokens fit, instead of %d" % (best, now)]


def _cache_type(wanted, gpus, fitting, topology):
    facts = wanted["facts"]
    now = kv_cache.CACHE_TYPES[wanted["kv_cache_type"] or "f16"]
    for name in SMALLER_CACHE_TYPES:
        block, size = kv_cache.CACHE_TYPES[name]
        if size * now[0] >= now[1] * block or facts["key_length"] % block or facts["value_length"] % block or wanted["flash_attention"] is False:
            continue
        if _fits(wanted, gpus, fitting, topology, kv_cache_type=name):
            return ["kv_cache_type: %s would make it fit" % name]
    return []


def _quantization(wanted, choice, gpus):
    attempt = choice["attempt"]
    if not attempt or not attempt["predicted"]["devices"]:
        return []
    weights = sum(device["weight_bytes"] for device in attempt["predicted"]["devices"])
    room = weights - choice["shortfall_bytes"]
    if room <= 0:
        return []
    return ["quantization: a build whose weights take at most %s on the GPUs, instead of %s, would fit" % (gib(room), gib(weights))]


def _gpus(choice, gpus, fitting, left_out):
    found = ["GPU %s is left out (%s); with it there would be more memory" % (gpu["uuid"], gpu["reason"]) for gpu in left_out]
    foreign = sum(gpu["foreign_bytes"] for gpu in gpus)
    if foreign:
        found.append("other processes hold %s of the GPUs; stopping them frees it" % gib(foreign))
    if not gpus or not choice["shortfall_bytes"]:
        return found + ([] if gpus else ["more GPUs: this host has none that can be used"])
    largest = max(gpu["total_bytes"] for gpu in gpus)
    attempt = choice["attempt"]
    compute = max(device["compute_bytes"] for device in attempt["predicted"]["devices"])
    cost = compute + choice["wanted"]["headroom_bytes"] + overhead.context_overhead(gpus[0]["architecture"], fitting.overhead_bytes)[0]
    if largest > cost and choice["wanted"]["strategy"] not in ("single", "replicate"):
        count = -(-choice["shortfall_bytes"] // (largest - cost))
        found.append("more GPUs: about %d more with %s each" % (count, gib(largest)))
    elif choice["wanted"]["strategy"] in ("single", "replicate") and len(gpus) > 1:
        found.append("strategy: split would use several GPUs together")
    return found
