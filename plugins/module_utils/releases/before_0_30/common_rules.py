# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What all releases to 0.24 share: how a request is read, and how a decision is written down.

Source: server/sched.go (`processPending`, `load`), llm/server.go (`NewLlamaServer`), envconfig/config.go and
server/routes.go, read at 0.5.13, 0.11.4, 0.11.10, 0.12.10, 0.15.5 and 0.24.0.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from ...common.sizes import GIB
from .. import setting_effects
from .. import variable_values as env
from ..shapes import Decision, LoadRequest, Version
from . import engines
from .dimensions import Dimensions
from .estimator import EstimatedLoad

DEFAULT_BATCH = 512
LEAST_CONTEXT, LEAST_CONTEXT_WITH_IMAGES = 4, 2048
SERIAL_ARCHITECTURES = (
    ((0, 0, 0), ("mllama",)),
    ((0, 12, 7), ("qwen3vl", "qwen3vlmoe")),
    ((0, 15, 5), ("qwen3next", "lfm2", "lfm2moe")),
    ((0, 17, 1), ("qwen35", "qwen35moe", "nemotron_h", "nemotron_h_moe")),
    ((0, 22, 0), ("nemotron_h_omni",)),
)
TIERS_SINCE = (0, 15, 5)  # from here the default context follows the total memory of all GPUs
CONTEXT_TIERS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))


class EffectiveRequest:
    """A load with everything that a version fills in where neither request nor environment sets it.

    Args:
        request: the load as the server is asked for it.
        version: the Ollama version.

    Attributes:
        model, environment, system: of the request; of the environment only what the version reads.
        version: the Ollama version.
        dims: the model's Dimensions.
        places, tokens: positions of the visible GPUs in the request's list, and how the engine is told of them.
        gpus: the visible GPUs.
        asked_context: tokens of one slot as asked for.
        context: the same, at most what the model was trained for.
        parallel, parallel_set: number of slots; `parallel_set` is false where the version tries several numbers.
        batch: tokens.
        num_gpu: layers asked for; -1 = automatic.
        spread: OLLAMA_SCHED_SPREAD.
        overhead_bytes: OLLAMA_GPU_OVERHEAD.
        projector_bytes: weights of a projector in a file of its own.
        own_engine: whether Ollama's own engine runs the model.
        over_limit: whether a model must be unloaded because as many are loaded as may be (OLLAMA_MAX_LOADED_MODELS).
        beside_others: whether other models are loaded.
    """

    def __init__(self, request: LoadRequest, version: Version):
        model, options, environment = (
            request.model,
            request.options,
            setting_effects.acting(request.environment, version),
        )
        self.model, self.version, self.environment, self.system = model, version, environment, request.system
        self.dims = Dimensions(model)
        visible = env.visible_gpus(request.gpus, environment)
        self.places = [place for place, dummy in visible]
        self.tokens = [token for dummy, token in visible]
        self.gpus = [request.gpus[place] for place in self.places]
        self.overhead_bytes = env.number(environment, "OLLAMA_GPU_OVERHEAD")
        self.spread = env.boolean(environment, "OLLAMA_SCHED_SPREAD")
        self.num_gpu = -1 if options.get("num_gpu") is None else options["num_gpu"]
        self.batch = options.get("num_batch") or DEFAULT_BATCH
        self.projector_bytes = (model.projector_bytes or 0) if model.projector_separate else 0
        self.asked_context = self._context(options)
        trained = self.dims.context
        self.context = min(self.asked_context, trained) if trained else self.asked_context
        self.parallel, self.parallel_set = self._slots()
        self.own_engine = engines.ollama_engine(self.dims, version, bool(self.projector_bytes), environment)
        self.beside_others = bool(request.residents)
        self.over_limit = len(request.residents) >= env.most_loaded(environment, len(self.gpus))

    def _context(self, options: dict[str, Any]) -> int:
        asked = options.get("num_ctx")
        if asked is None:
            asked = env.number(self.environment, "OLLAMA_CONTEXT_LENGTH") or default_context(
                self.version, self.gpus, self.overhead_bytes
            )
        asked = max(asked, LEAST_CONTEXT)
        if self.dims.sees_images and self.version >= (0, 11, 5):
            return max(asked, LEAST_CONTEXT_WITH_IMAGES)
        return asked

    def _slots(self) -> tuple[int, bool]:
        if serial(self.dims.architecture, self.version) or self.dims.is_embedding:
            return 1, True
        asked = env.number(self.environment, "OLLAMA_NUM_PARALLEL", default_slots(self.version))
        if asked:
            return asked, True
        return (1, True) if self.version >= (0, 11, 5) else (default_candidates(self.version)[0], False)

    def estimated_load(self) -> EstimatedLoad:
        """The estimator's view of this request. A host without GPUs is discovered as a device of library "cpu"."""
        return EstimatedLoad(
            dims=self.dims,
            version=self.version,
            num_gpu=self.num_gpu,
            batch=self.batch,
            parallel=self.parallel,
            overhead_bytes=self.overhead_bytes,
            projector_bytes=self.projector_bytes,
            environment=self.environment,
            discovered=tuple(self.gpus) or ({"library": "cpu"},),
        )


def serial(architecture: Optional[str], version: Version) -> bool:
    """Whether a version gives an architecture one slot, whatever OLLAMA_NUM_PARALLEL is (server/sched.go)."""
    return any(architecture in names for since, names in SERIAL_ARCHITECTURES if version >= since)


def default_slots(version: Version) -> int:
    """OLLAMA_NUM_PARALLEL where it is not set; 0 lets the version try (server/sched.go)."""
    return 1 if version >= (0, 10, 0) else 0


def default_candidates(version: Version) -> tuple[int, int]:
    """Numbers of slots that a version tries where OLLAMA_NUM_PARALLEL is 0."""
    if version >= (0, 10, 0):
        return (1, 1)
    return (2, 1) if version >= (0, 6, 7) else (4, 1)


def default_context(version: Version, gpus: Sequence[dict[str, Any]], overhead_bytes: int = 0) -> int:
    """Tokens of context where neither request, model nor environment names one."""
    if version < TIERS_SINCE:
        return 4096 if version >= (0, 6, 7) else 2048
    total = sum(gpu["total_bytes"] - overhead_bytes for gpu in gpus) % env.WORD
    return next(tokens for least, tokens in CONTEXT_TIERS if total >= least)


def decision(
    request: EffectiveRequest, placed: Sequence[tuple[int, int]], forced_layers: Optional[int] = None, **extra: Any
) -> Decision:
    """The decision for a request.

    Args:
        request: the load.
        placed: (position in request.gpus, number of layers) of each GPU, in the order in which the runner gets them.
        forced_layers: layers that the runner is told to offload beyond what was found to fit, or None.
        extra: further fields of the Decision.
    """
    total = request.dims.blocks + 1
    counts = [count for dummy, count in placed]
    layers = sum(counts)
    if not layers:
        outcome = "cpu"
    elif layers < total:
        outcome = "partial"
    else:
        outcome = "split" if sum(1 for count in counts if count) > 1 else "single"
    found = {
        "outcome": outcome,
        "gpus": [request.places[place] for place, dummy in placed],
        "tokens": [request.tokens[place] for place, dummy in placed],
        "single_gpu": len(placed) == 1 and len(request.gpus) > 1,
        "main_gpu": None,
        "layers": counts,
        "context_length": request.context,
        "parallel": request.parallel,
        "batch": min(request.batch, request.context),
        "gpu_layers": forced_layers if forced_layers is not None else layers,
    }
    return Decision(**dict(found, **extra))


def refused(request: EffectiveRequest, error: str, **extra: Any) -> Decision:
    """The decision for a load that fails."""
    return decision(request, [], **dict({"outcome": None, "error": error}, **extra))


def evicting(request: EffectiveRequest, **extra: Any) -> Decision:
    """The decision for a load before which another model is unloaded."""
    return decision(request, [], **dict({"outcome": "evict", "evicts": True, "evicted": 1}, **extra))


def loads_whole(found: Decision, total_layers: int) -> bool:
    """Whether a decision puts all layers of a model on GPUs, and the load ends.

    Args:
        found: a decision.
        total_layers: layers of the model, the output layer among them.
    """
    if found.hangs or found.error or found.outcome not in ("single", "split"):
        return False
    return sum(found.layers or ()) >= total_layers


def system_shortage(request: EffectiveRequest, needed: int) -> Optional[str]:
    """The error where the host lacks memory for the part that stays on it, or None."""
    system = request.system
    if system and needed > system["free_bytes"] + system.get("swap_bytes", 0):
        return (
            "the model needs %d bytes of system memory, %d are available; free system memory or choose a smaller model"
            % (needed, system["free_bytes"] + system.get("swap_bytes", 0))
        )
    return None
