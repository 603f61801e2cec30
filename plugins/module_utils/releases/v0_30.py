# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.30 and later: Ollama picks one GPU or all of them, llama.cpp's fit decides the layers.

Source: Ollama server/sched.go (`selectLlamaServerPlacement`, `load`) and llm/llama_server.go, read at 0.32.15; checked
against recorded loads of that version.
"""

from __future__ import annotations

from ..memory import kv_cache, weights
from ..memory.load import Load
from . import engine_start, llama_fit
from . import environment as env
from .release import Release

FIRST_VERSION = (0, 30, 0)
NEWEST_VERSION = (0, 32, 15)
SINGLE_GPU_PERCENT = 80  # a model goes to one GPU only if its figure is at most this share of that GPU's free memory
MIB = 1024 * 1024
GIB = 1024 * MIB
LEAST_CONTEXT, LEAST_CONTEXT_WITH_IMAGES = 4, 2048

# Default context by the total memory of all visible GPUs: (bytes at least, tokens). server/routes.go.
CONTEXT_TIERS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))
# One request at a time whatever OLLAMA_NUM_PARALLEL says (server/sched.go); nemotron_h is a prefix.
SERIAL_ARCHITECTURES = ("mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe")
# What a setting does in this era, for the settings that users believe to do something else.
EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "no effect on placement since 0.30; it only lowers the total that chooses the default context",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if one would do",
    "OLLAMA_KV_CACHE_TYPE": "passed to the engine; the choice of GPUs always counts the cache as f16",
    "num_gpu": "number of layers, not of GPUs; it does not force several GPUs",
    "num_gpu_all": "no fallback to the CPU: all layers go to the GPUs, and llama.cpp's own fitting is off; it does not force several GPUs",
    "main_gpu": "the model goes to this one GPU, even with OLLAMA_SCHED_SPREAD",
    "LLAMA_ARG_TENSOR_SPLIT": "proportion of layers per GPU where the model goes to all GPUs; llama.cpp's own fitting is off",
    "LLAMA_ARG_FIT_TARGET": "MiB that llama.cpp's fitting leaves free on each GPU",
}


def refused_gpu(version, compute_capability, driver_version):
    """Why this Ollama does not use an NVIDIA GPU (it leaves such a GPU out without an error), or None.

    Source: docs/gpu.mdx; discover/cuda_compat.go from 0.30.11 on.

    Args:
        version: tuple of three integers.
        compute_capability: list of two integers, or None where unknown.
        driver_version: text, for example "580.95.05", or None.
    """
    if compute_capability and tuple(compute_capability) < (5, 0):
        return "Ollama needs compute capability 5.0, it has %d.%d" % tuple(compute_capability)
    major = (driver_version or "").split(".")[0]
    if version >= (0, 30, 11) and major.isdigit():
        needed = 570 if compute_capability and compute_capability[0] < 7 else 550
        if int(major) < needed:
            return "this Ollama version needs NVIDIA driver %d for it, the host has %s" % (needed, driver_version)
    return None


def predicted_bytes(model, context_total):
    """Ollama's own figure for a model: size of the file plus a KV cache in f16 of all layers (`PredictServerVRAM`).

    It knows neither window, nor cache type, nor compute buffers, nor a projector in a file of its own.

    Args:
        model: dict of model_info; uses file_bytes, block_count, head_count, head_count_kv, embedding_length.
        context_total: tokens of all slots together.
    """
    heads = max(model.head_count)
    kv_heads = min(model.head_count_kv) or 1  # so Ollama counts a hybrid model, whose recurrent layers have none
    width = model.embedding_length // heads if heads else 0  # a model without attention (mamba) has no heads
    return model.file_bytes + 2 * model.block_count * kv_heads * width * context_total * 2


def default_context(gpus, environment):
    """Tokens of context where neither request, model nor environment names one: by total memory of the visible GPUs."""
    overhead = env.number(environment, "OLLAMA_GPU_OVERHEAD")
    total = sum(max(0, gpu["total_bytes"] - overhead) for gpu in gpus)
    return next(tokens for least, tokens in CONTEXT_TIERS if total >= least)


def effective_context(model, options, environment, gpus):
    """Tokens of context of one slot: what is asked for, at least 4 (2048 for a model that sees images), at most what the
    model was trained for (server/sched.go, `getRunner` and `effectiveModelContext`)."""
    asked = options.get("num_ctx")
    if asked is None:
        asked = env.number(environment, "OLLAMA_CONTEXT_LENGTH") or default_context(gpus, environment)
    asked = max(asked, LEAST_CONTEXT_WITH_IMAGES if "vision" in (model.capabilities or []) else LEAST_CONTEXT)
    return min(asked, model.context_length or asked)


def slots(model, environment):
    """Requests served at once."""
    architecture = model.architecture
    if architecture in SERIAL_ARCHITECTURES or architecture.startswith("nemotron_h") or embeds(model):
        return 1
    return max(env.number(environment, "OLLAMA_NUM_PARALLEL", 1), 1)


def embeds(model):
    """Whether a model embeds only: one request at a time, and a batch of its own."""
    return "embedding" in (model.capabilities or [])


def batch_of(model, asked, context, context_total, gpus, flash):
    """(tokens of a batch, surcharge in bytes) of a load.

    Args:
        model: dict of model_info.
        asked: the batch that the request names, or None.
        context, context_total: tokens of one slot, and of all together.
        gpus, flash: as engine_start.batch_size takes them.
    """
    if embeds(model):
        return engine_start.embedding_batch(asked, context, context_total), 0
    if asked is None:
        return engine_start.batch_size(predicted_bytes(model, context_total), context_total, gpus, flash)
    return asked, engine_start.surcharge(asked)


def choose_gpus(gpus, predicted, options, environment):
    """The GPUs that a model goes to: (positions in gpus, the engine's --main-gpu or None, error or None).

    Args:
        gpus: visible GPUs in discovery order: dicts with `free_bytes`, optional `integrated` and `library`.
        predicted: Ollama's figure for the model, bytes.
        options: the request's or model's parameters (`num_gpu`, `main_gpu`).
        environment: the service environment.
    """
    everything = list(range(len(gpus)))
    main = options.get("main_gpu")
    if options.get("num_gpu") == 0 or len(gpus) <= 1:
        return everything, main, _missing(main, gpus)
    groups = {}
    for index in everything:
        groups.setdefault(gpus[index].get("library", "CUDA"), []).append(index)

    def rank(index):
        return (bool(gpus[index].get("integrated")), -gpus[index]["free_bytes"], index)

    if main is not None:
        candidates = [members[main] for members in groups.values() if 0 <= main < len(members)]
        if candidates:
            return [min(candidates, key=rank)], 0, None
    elif not env.boolean(environment, "OLLAMA_SCHED_SPREAD") and predicted > 0:
        candidates = [
            index for index in everything if predicted <= gpus[index]["free_bytes"] * SINGLE_GPU_PERCENT // 100
        ]
        if candidates:
            return [min(candidates, key=rank)], 0, None

    def total(members):
        integrated = all(gpus[index].get("integrated") for index in members)
        return (integrated, -sum(gpus[index]["free_bytes"] for index in members))

    group = min(groups.values(), key=total)
    return group, main, _missing(main, group)


def _missing(main, gpus):
    if main is not None and gpus and main >= len(gpus):
        return "main_gpu %d does not exist: the engine ends with an error" % main
    return None


def accounted_free(gpus, residents):
    """Free memory of every GPU as this era believes it while engines are running: list of bytes.

    From 0.30 to 0.32.15 (and 0.33.0-rc2) an engine's figures are looked up by the name that it gives its GPU, and an
    engine that was given one GPU calls it CUDA0 whatever its index. So what a one-GPU engine holds on a GPU of index
    above 0 is not found, and where engines cover every GPU, that GPU counts as empty (server/sched.go,
    `updateFreeSpace`; llm/llama_server.go, `GetDeviceInfos`; seen on a running server). What was free when an engine
    was loaded is never read again, so memory that another model has given back since counts as taken. Not told here,
    as it is a matter of timing: of what was free the server reads one line of each piece of the engine's output, and a
    GPU whose line it missed counts as its total less the buffers.

    Args:
        gpus: GPUs in discovery order, `free_bytes` as the driver says.
        residents: running engines in the order of loading: dicts {buffers: {position: bytes}, free_at_load:
            {position: bytes}}; an engine with one position is a one-GPU engine.
    """
    covered = {position for resident in residents for position in resident["buffers"]}
    everywhere = covered >= set(range(len(gpus)))
    free = []
    for position, gpu in enumerate(gpus):
        total = gpu["total_bytes"]
        amount = gpu["free_bytes"]
        found = 0
        said = None
        for resident in residents:
            if position not in resident["buffers"]:
                continue
            if len(resident["buffers"]) == 1 and position > 0:
                if said is None:
                    said = total
                continue
            held = resident["buffers"][position]
            found += held
            said = min(total - held, resident["free_at_load"][position] - held)
        if everywhere and said is not None:
            amount = said
        free.append(max(0, min(amount, total - found)))
    return free


def decide(
    model, gpus, options=None, environment=None, residents=None, layers=True, version=NEWEST_VERSION, system=None
):
    """What this era does with one load on a server that holds nothing else, or `residents`.

    Args:
        model: dict of model_info.
        gpus: all GPUs of the host in CUDA's order, dicts {uuid, total_bytes, free_bytes, compute_capability}.
        options: parameters of the request and the Modelfile (num_ctx, num_gpu, num_batch, main_gpu).
        environment: the service environment.
        residents: None (empty server) or the engines that run already: dicts {buffers, free_at_load, held}, each
            {position in the visible GPUs: bytes}; `held` is what the driver gets back when the engine ends. In the
            order in which they would be unloaded (Ollama: shortest keep-alive first, then by the model's path).
        layers: whether to work out the layers too (llama.cpp's fit); without, `outcome` and `layers` are None.
        version: Ollama version as a tuple.
        system: {free_bytes} of the host, or None; a GPU that shares the host's memory never has more.

    Returns:
        dict: `outcome` (single, split, partial, cpu), `gpus` (positions of the chosen GPUs), `tokens` (how they are
        named to the engine), `single_gpu` and `main_gpu` (--split-mode none --main-gpu), `layers` (per chosen GPU),
        `context_length` (of one slot), `parallel`, `batch`, `gpu_layers` (-ngl or None), `flash_attention`,
        `cache_type`, `predicted_bytes`, `error` (None, or why the load fails), `evicts` (whether another model is
        unloaded first), `evicted` (how many of the residents).
    """
    options = options or {}
    environment = environment or {}
    visible = env.visible_gpus(gpus, environment)
    shown = [_with_host_memory(gpus[index], system) for index, dummy in visible]
    context = effective_context(model, options, environment, shown)
    parallel = slots(model, environment)
    load = _Load(model, context, parallel, options, environment, version)
    attempt, evicted = _make_room(load, shown, list(residents or []))
    chosen, main, members = attempt["chosen"], attempt["main"], attempt["members"]
    num_gpu = options.get("num_gpu")
    decision = {
        "gpus": [visible[index][0] for index in chosen],
        "tokens": [visible[index][1] for index in chosen],
        "single_gpu": main is not None,
        "main_gpu": main,
        "context_length": context,
        "parallel": parallel,
        "batch": attempt["batch"],
        "gpu_layers": num_gpu if num_gpu is not None and num_gpu >= 0 else None,
        "flash_attention": attempt["flash"],
        "cache_type": env.text(environment, "OLLAMA_KV_CACHE_TYPE").lower() or None,
        "predicted_bytes": load.predicted,
        "error": attempt["error"],
        "evicts": evicted > 0,
        "evicted": evicted,
    }
    on_cpu = num_gpu == 0 or not members
    decision.update(
        _layers(model, members, decision, environment, on_cpu, version) if layers else {"layers": None, "outcome": None}
    )
    return decision


def _with_host_memory(gpu, system):
    if gpu.get("integrated") and system and system.get("free_bytes"):
        return dict(gpu, free_bytes=min(gpu["free_bytes"], system["free_bytes"]))
    return gpu


class _Load:
    """One load: what does not change while room is made for it."""

    def __init__(self, model, context, parallel, options, environment, version):
        self.model, self.options, self.environment, self.version = model, options, environment, version
        self.context, self.context_total = context, context * parallel
        self.predicted = predicted_bytes(model, self.context_total)

    def attempt(self, shown):
        """Choice of GPUs and batch with the free memory given: dict of chosen, main, error, members, flash, batch, surcharge."""
        chosen, main, error = choose_gpus(shown, self.predicted, self.options, self.environment)
        members = [shown[index] for index in chosen]
        counted = [] if self.options.get("num_gpu") == 0 else members  # without layers on GPUs none is looked at
        flash = engine_start.flash_attention(counted, self.environment, self.version)
        batch, surcharge = batch_of(
            self.model, self.options.get("num_batch"), self.context, self.context_total, counted, flash
        )
        return {
            "chosen": chosen,
            "main": main,
            "error": error,
            "members": members,
            "flash": flash,
            "batch": batch,
            "surcharge": surcharge,
        }


def _make_room(load, shown, running):
    """Unload one model after another until the load fits: (attempt, number of models unloaded)."""
    evicted = 0
    while running:
        accounted = [dict(gpu, free_bytes=free) for gpu, free in zip(shown, accounted_free(shown, running))]
        attempt = load.attempt(accounted)
        needed = load.predicted + attempt["surcharge"]
        if not evicts(needed, attempt["members"], load.model, load.options, load.environment, len(running), len(shown)):
            return attempt, evicted
        held = running.pop(0)["held"]
        shown = [
            dict(gpu, free_bytes=min(gpu["free_bytes"] + held.get(place, 0), gpu["total_bytes"]))
            for place, gpu in enumerate(shown)
        ]
        evicted += 1
    return load.attempt(shown), evicted


def evicts(needed, members, model, options, environment, loaded=1, gpu_count=1):
    """Whether a model that is loaded is unloaded first (`processPending`, `requireFull` of `load`).

    Args:
        needed: Ollama's figure with the batch's surcharge, bytes.
        members: the chosen GPUs with their free memory beside what is loaded.
        loaded: number of models that are loaded.
        gpu_count: number of GPUs that the service sees.
    """
    if loaded >= env.most_loaded(environment, gpu_count):
        return True
    num_gpu = options.get("num_gpu")
    if num_gpu is not None and 0 <= num_gpu < model.block_count + 1:
        return False
    return bool(members) and needed > sum(gpu["free_bytes"] for gpu in members) * SINGLE_GPU_PERCENT // 100


def _layers(model, members, decision, environment, on_cpu, version):
    """Layers per chosen GPU and the outcome, after llama.cpp's fit."""
    if on_cpu:
        return {"layers": [0] * len(members), "outcome": "cpu"}
    fitted = llama_fit.fit(
        model,
        [gpu["free_bytes"] for gpu in members],
        Load(
            context_length=decision["context_length"],
            parallel=decision["parallel"],
            ubatch=decision["batch"],
            cache_type=decision["cache_type"] or "f16",
            flash_attention=decision["flash_attention"] != "off",
            op_offload=True,
        ),
        llama_fit.FitOptions(
            gpu_layers=decision["gpu_layers"],
            tensor_split=engine_start.tensor_split(environment, len(members)),
            margins=engine_start.fit_margins(model, members, environment, version, decision["gpu_layers"]),
            enabled=env.boolean(environment, "LLAMA_ARG_FIT", True),
        ),
    )
    layers = fitted.layers
    if sum(layers) == 0:
        outcome = "cpu"
    elif sum(layers) < model.block_count + 1 or weights.on_host(fitted.moved):
        outcome = "partial"
    else:
        outcome = "split" if sum(1 for count in layers if count) > 1 else "single"
    return {"layers": layers, "outcome": outcome}


class ReleaseSince030(Release):
    """Ollama 0.30 or later, see `release.Release`."""

    engine = "llama-server"
    reads_engine_variables = True
    layers_can_be_set = True
    all_layers_can_be_forced = True
    keeps_gpu_overhead = False
    smaller_batches = (1024, 512)

    def decide(self, model, gpus, options=None, environment=None, beside_others=False):
        return decide(
            model, gpus, options, environment, residents=[{}] if beside_others else None, version=self.numbers
        )

    def flash_attention(self, asked, gpus):
        if asked is not None:
            return "on" if asked else "off"
        return engine_start.flash_attention(gpus, {}, self.numbers)

    def batch(self, model, asked, context_length, parallel, free, flash="auto"):
        return batch_of(
            model, asked, context_length, context_length * parallel, [{"free_bytes": size} for size in free], flash
        )

    def one_request_at_a_time(self, model):
        return slots(model, {"OLLAMA_NUM_PARALLEL": "2"}) == 1

    def refuses_cache_type(self, cache_type, flash):
        return kv_cache.CACHE_TYPES[cache_type][0] > 1 and flash == "off"

    def layer_settings(self, planned):
        kept = planned.headroom_bytes
        if planned.tensor_split:
            return {"LLAMA_ARG_TENSOR_SPLIT": ",".join(str(layers) for layers in planned.tensor_split)}
        if planned.outcome == "cpu" or planned.forced:
            return {}
        if kept > GIB and planned.cpu_allowed:
            # Where this is set, Ollama no longer adds the projector to it.
            return {"LLAMA_ARG_FIT_TARGET": str(-(-(kept + planned.projector_bytes) // MIB))}
        if planned.outcome != "partial" and (kept < GIB or not planned.cpu_allowed):
            # llama.cpp's fit would move layers to the CPU to keep 1 GiB free; the plan keeps less. Half of that, so
            # that a prediction which is off by a few MiB moves nothing.
            return {"LLAMA_ARG_FIT_TARGET": str(kept // 2 // MIB)}
        return {}

    def evicts(self, last, others):
        request = last.request
        left = [gpu["free_bytes"] for gpu in request.gpus]
        for other in others:
            left = [size - held for size, held in zip(left, other.device_bytes)]
        free = [max(0, size) for size in left]
        context_length = request.options["num_ctx"]
        parallel = env.number(request.environment, "OLLAMA_NUM_PARALLEL", 1)
        batch = self.batch(request.model, request.options.get("num_batch"), context_length, parallel, free)
        needed = predicted_bytes(request.model, context_length * parallel) + batch[1]
        return evicts(needed, [{"free_bytes": size} for size in free], request.model, {}, {})

    def refused_gpu(self, compute_capability, driver_version):
        return refused_gpu(self.numbers, compute_capability, driver_version)
