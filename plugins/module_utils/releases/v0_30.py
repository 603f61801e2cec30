# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ollama 0.30 and later: Ollama picks one GPU or all of them, llama.cpp's fit decides the layers.

Source: Ollama server/sched.go (`selectLlamaServerPlacement`, `load`) and llm/llama_server.go, read at 0.32.15; checked
against recorded loads of that version.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence

from ..common import engine_variables
from ..common.service_variables import Version
from ..memory import weights
from ..memory.load import Load
from ..model.schema import ModelFacts
from . import engine_start, llama_fit, v0_30_eviction
from . import variable_values as env
from .shapes import Decision, Gpu, LoadRequest
from .speculation import speculation_of
from .v0_30_context import asked_context, effective_context

FIRST_VERSION = (0, 30, 0)
NEWEST_VERSION = (0, 32, 15)
# llama.cpp #23861 was merged on 2026-06-01. LLAMA_CPP_VERSION of 0.30.0 is b9452, of that morning, and of 0.30.1 b9479.
FIRST_WITH_FEW_OUTPUTS = (0, 30, 1)
ENCODERS = ("t5", "t5encoder")  # src/llama-model.cpp `llama_model_has_encoder`

# One request at a time whatever OLLAMA_NUM_PARALLEL is (server/sched.go); nemotron_h is a prefix.
SERIAL_ARCHITECTURES = ("mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe")
# What a setting does in these releases, for the settings that users believe to do something else.
EFFECTS = {
    "OLLAMA_GPU_OVERHEAD": "no effect on placement since 0.30; it is subtracted from the total of each GPU before "
    "their sum chooses the default context, and a sum below 0 wraps around to 16 EiB, which gives 262144 tokens",
    "OLLAMA_SCHED_SPREAD": "the model goes to all visible GPUs even if one would do",
    "OLLAMA_KV_CACHE_TYPE": "passed to the engine; the choice of GPUs always counts the cache as f16",
    "num_gpu": "number of layers, not of GPUs; it does not force several GPUs",
    "num_gpu_all": "no fallback to the CPU: all layers go to the GPUs, and llama.cpp's own fitting is off; "
    "it does not force several GPUs",
    "main_gpu": "the model goes to this one GPU, even with OLLAMA_SCHED_SPREAD",
    "LLAMA_ARG_TENSOR_SPLIT": "proportion of layers per GPU where the model goes to all GPUs; llama.cpp's own fitting "
    "is off",
    "LLAMA_ARG_FIT_TARGET": "MiB that llama.cpp's fitting leaves free on each GPU",
}


def predicted_bytes(model: ModelFacts, context_total: int) -> int:
    """Ollama's own figure for a model: size of the file plus a KV cache in f16 of all layers (`PredictServerVRAM`).

    It counts neither window, nor cache type, nor compute buffers, nor a projector in a file of its own.

    Args:
        model: the model's facts.
        context_total: tokens of all slots together.
    """
    heads = max(model.head_count or [0])
    kv_heads = min(model.head_count_kv or [1]) or 1  # so Ollama counts a hybrid model, whose recurrent layers have none
    width = (model.embedding_length or 0) // heads if heads else 0  # a model without attention (mamba) has no heads
    return (model.file_bytes or 0) + 2 * model.block_count * kv_heads * width * context_total * 2


def slots(model: ModelFacts, environment: dict[str, str]) -> int:
    """Requests served at once."""
    architecture = model.architecture or ""
    if architecture in SERIAL_ARCHITECTURES or architecture.startswith("nemotron_h") or embeds(model):
        return 1
    return max(env.number(environment, "OLLAMA_NUM_PARALLEL", 1), 1)


def embeds(model: ModelFacts) -> bool:
    """Whether a model embeds only: one request at a time, and the engine gets --embedding (llm/llama_server.go).

    That is what a header with a pooling type says. A configuration that only adds the capability makes a model of texts
    get the batch of embeddings, and nothing else (server/routes.go, `shouldApplyEmbeddingBatchDefault`).
    """
    capabilities = model.capabilities or []
    return "embedding" in capabilities and "completion" not in capabilities


def outputs(
    model: ModelFacts, parallel: int, environment: Mapping[str, str], version: Version, drafted: int = 0
) -> Optional[int]:
    """Rows of logits that llama-server makes room for, or None: one for every token of a batch.

    Every slot has one row, and one more for each token that is drafted for it. All tokens count where the engine embeds
    (Ollama passes --embedding), pools or has an encoder. llama.cpp's fit is part of the server and gets the same
    number.
    Source: `server_n_outputs_max` (tools/server/server-context.cpp), `n_outputs_max` in src/llama-context.cpp and
    `common_context_params_to_llama` (common/common.cpp), from llama.cpp #23861 on; seen in llama-server of build 11669.

    Args:
        model: the model's facts.
        parallel: number of slots.
        environment: the service environment; only LLAMA_ARG_POOLING counts here.
        version: the Ollama version.
        drafted: most tokens that are proposed at once for a slot, 0 without speculative decoding.
    """
    if version < FIRST_WITH_FEW_OUTPUTS or embeds(model) or model.architecture in ENCODERS:
        return None
    return None if engine_variables.pools(environment) else parallel * (1 + drafted)


def batch_of(
    model: ModelFacts, asked: Optional[int], context: int, context_total: int, gpus: Sequence[Gpu], flash: str
) -> tuple[int, int]:
    """(tokens of a batch, surcharge in bytes) of a load.

    Args:
        model: the model's facts.
        asked: the batch that the request names, or None.
        context: tokens of one slot as asked for (`asked_context`), which the batch of an embedding model follows
            before Ollama raises or lowers them (server/routes.go, `WithDefaultEmbeddingNumBatch`).
        context_total: tokens of all slots together, as they are.
        gpus, flash: as engine_start.batch_size takes them.
    """
    if embeds(model):
        return engine_start.embedding_batch(asked, context, context_total), 0
    if asked is None and "embedding" in (model.capabilities or []):
        asked = engine_start.default_embedding_batch(context)
    if asked is None:
        return engine_start.batch_size(predicted_bytes(model, context_total), context_total, gpus, flash)
    return asked, engine_start.surcharge(asked)


def choose_gpus(
    gpus: Sequence[Gpu], predicted: int, options: dict[str, Any], environment: dict[str, str]
) -> tuple[list[int], Optional[int], Optional[str]]:
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
    groups: dict[str, list[int]] = {}
    for index in everything:
        groups.setdefault(gpus[index].get("library", "CUDA"), []).append(index)

    def rank(index: int) -> tuple[bool, int, int]:
        return (bool(gpus[index].get("integrated")), -gpus[index]["free_bytes"], index)

    if main is not None:
        candidates = [members[main] for members in groups.values() if 0 <= main < len(members)]
        if candidates:
            return [min(candidates, key=rank)], 0, None
    elif not env.boolean(environment, "OLLAMA_SCHED_SPREAD") and predicted > 0:
        candidates = [
            index
            for index in everything
            if predicted <= gpus[index]["free_bytes"] * v0_30_eviction.USABLE_PERCENT // 100
        ]
        if candidates:
            return [min(candidates, key=rank)], 0, None

    def total(members: list[int]) -> tuple[bool, int]:
        integrated = all(gpus[index].get("integrated") for index in members)
        return (integrated, -sum(gpus[index]["free_bytes"] for index in members))

    group = min(groups.values(), key=total)
    return group, main, _missing(main, group)


def _missing(main: Optional[int], gpus: Sequence[Any]) -> Optional[str]:
    if main is not None and gpus and main >= len(gpus):
        return "main_gpu %d does not exist: the engine ends with an error" % main
    return None


def choose(request: LoadRequest) -> Decision:
    """Which GPUs Ollama gives a load, and with which settings.

    `outcome` and `layers` of the decision are None, as llama.cpp decides them.
    """
    load = _Load(request)
    attempt, evicted = load.after_eviction()
    num_gpu = request.options.get("num_gpu")
    return Decision(
        outcome=None,
        gpus=[load.visible[index][0] for index in attempt.chosen],
        tokens=[load.visible[index][1] for index in attempt.chosen],
        single_gpu=attempt.main_gpu is not None,
        main_gpu=attempt.main_gpu,
        layers=None,
        context_length=load.context,
        parallel=load.parallel,
        batch=attempt.batch,
        gpu_layers=num_gpu if num_gpu is not None and num_gpu >= 0 else None,
        flash_attention=attempt.flash,
        cache_type=env.text(request.environment, "OLLAMA_KV_CACHE_TYPE").lower() or None,
        predicted_bytes=load.predicted,
        error=attempt.error,
        evicts=evicted > 0,
        evicted=evicted,
        free_bytes=[gpu["free_bytes"] for gpu in attempt.members],
    )


def decide(request: LoadRequest) -> Decision:
    """What Ollama chooses for a load, with the layers after llama.cpp's fit."""
    decision = choose(request)
    # llama.cpp uses no GPU with --split-mode none and a negative --main-gpu (src/llama.cpp, model loading).
    if request.options.get("num_gpu") == 0 or not decision.gpus or (decision.main_gpu or 0) < 0:
        return dataclasses.replace(decision, outcome="cpu", layers=[0] * len(decision.gpus))
    model, environment, version = request.model, request.environment, request.version or NEWEST_VERSION
    members = [
        dict(request.gpus[place], free_bytes=free) for place, free in zip(decision.gpus, decision.free_bytes or ())
    ]
    proposed = speculation_of(model, request.options.get("draft_num_predict"), version)
    fitted = llama_fit.fit(
        model,
        decision.free_bytes or (),
        Load(
            context_length=decision.context_length,
            parallel=decision.parallel,
            ubatch=decision.batch,
            cache_type=decision.cache_type or "f16",
            flash_attention=decision.flash_attention != "off",
            outputs=outputs(model, decision.parallel, environment, version, proposed.tokens),
            embedding=embeds(model),
            op_offload=True,
            speculation=proposed.kind,
            drafted=proposed.tokens,
        ),
        llama_fit.FitOptions(
            gpu_layers=decision.gpu_layers,
            tensor_split=engine_start.tensor_split(environment, len(members)),
            margins=engine_start.fit_margins(model, members, environment, version, decision.gpu_layers),
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
    return dataclasses.replace(decision, outcome=outcome, layers=layers)


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """A choice of GPUs and batch with the memory that is free now.

    Attributes:
        chosen: positions in the visible GPUs.
        members: those GPUs.
        main_gpu, error, flash, batch: see shapes.Decision.
        surcharge: bytes that Ollama adds to its figure for the batch.
    """

    chosen: list[int]
    members: list[Gpu]
    main_gpu: Optional[int]
    error: Optional[str]
    flash: str
    batch: int
    surcharge: int


class _Load:
    """A load with what Ollama fills in where neither request nor environment sets it.

    Attributes:
        request: the load.
        visible: (position in the request's list, token) of each visible GPU.
        gpus: the visible GPUs.
        asked: tokens of one slot as asked for.
        context, parallel: tokens of one slot, and number of slots.
        predicted: Ollama's figure for the model, bytes.
    """

    def __init__(self, request: LoadRequest):
        self.request = request
        self.visible = env.visible_gpus(request.gpus, request.environment)
        self.gpus = [_with_host_memory(request.gpus[index], request.system) for index, dummy in self.visible]
        self.asked = asked_context(request.options, request.environment, self.gpus)
        self.context = effective_context(request.model, request.options, request.environment, self.gpus)
        self.parallel = slots(request.model, request.environment)
        self.predicted = predicted_bytes(request.model, self.context * self.parallel)

    def after_eviction(self) -> tuple[_Attempt, int]:
        """Unload one model after another until the load fits: (attempt, number of models unloaded)."""
        request, gpus, running = self.request, self.gpus, list(self.request.residents)
        evicted = 0
        while running:
            free = v0_30_eviction.accounted_free(gpus, running)
            attempt = self._attempt([dict(gpu, free_bytes=size) for gpu, size in zip(gpus, free)])
            needed = self.predicted + attempt.surcharge
            if not v0_30_eviction.evicts(request, needed, attempt.members, len(running), len(gpus)):
                return attempt, evicted
            gpus = v0_30_eviction.without(running.pop(0), gpus)
            evicted += 1
        return self._attempt(gpus), evicted

    def _attempt(self, gpus: Sequence[Gpu]) -> _Attempt:
        request = self.request
        chosen, main, error = choose_gpus(gpus, self.predicted, request.options, request.environment)
        members = [gpus[index] for index in chosen]
        counted = [] if request.options.get("num_gpu") == 0 else members  # without layers on GPUs none is looked at
        flash = engine_start.flash_attention(counted, request.environment, request.version or NEWEST_VERSION)
        asked = request.options.get("num_batch")
        batch, surcharge = batch_of(request.model, asked, self.asked, self.context * self.parallel, counted, flash)
        return _Attempt(chosen, members, main, error, flash, batch, surcharge)


def _with_host_memory(gpu: Gpu, system: Optional[dict[str, int]]) -> Gpu:
    if gpu.get("integrated") and system and system.get("free_bytes"):
        return dict(gpu, free_bytes=min(gpu["free_bytes"], system["free_bytes"]))
    return gpu
