# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the eras to 0.24 share: how a request is read, and how a decision is written down.

Source: server/sched.go (`processPending`, `load`), llm/server.go (`NewLlamaServer`), envconfig/config.go and
server/routes.go, read at 0.5.13, 0.11.4, 0.11.10, 0.12.10, 0.15.5 and 0.24.0.
"""

from __future__ import annotations

from .. import environment as env
from .. import settings
from . import engines
from .dimensions import Dimensions
from .estimator import Load

GIB = 1024 * 1024 * 1024
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


class Request:
    """One load, as the scheduler of a version reads it.

    Attributes (tokens, bytes, positions in the list of GPUs given): `version`, `dims`, `places` and `tokens` (visible
    GPUs), `gpus` (their dicts), `asked_context` (of one slot), `context` (at most what the model was trained for),
    `parallel`, `parallel_set` (False where the version tries several), `batch`, `num_gpu` (-1 = automatic), `spread`,
    `overhead_bytes`, `projector_bytes`, `environment`, `system`, `own_engine` (Ollama's engine runs it).
    """

    def __init__(self, model, gpus, options, environment, version, system=None):
        options, environment = options or {}, settings.acting(environment, version)
        self.model, self.version, self.environment, self.system = model, version, environment, system
        self.dims = Dimensions(model)
        visible = env.visible_gpus(gpus, environment)
        self.places = [place for place, dummy in visible]
        self.tokens = [token for dummy, token in visible]
        self.gpus = [gpus[place] for place in self.places]
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

    def _context(self, options):
        asked = options.get("num_ctx")
        if asked is None:
            asked = env.number(self.environment, "OLLAMA_CONTEXT_LENGTH") or default_context(
                self.version, self.gpus, self.overhead_bytes
            )
        asked = max(asked, LEAST_CONTEXT)
        if self.dims.sees_images and self.version >= (0, 11, 5):
            return max(asked, LEAST_CONTEXT_WITH_IMAGES)
        return asked

    def _slots(self):
        if serial(self.dims.architecture, self.version) or self.dims.is_embedding:
            return 1, True
        asked = env.number(self.environment, "OLLAMA_NUM_PARALLEL", default_slots(self.version))
        if asked:
            return asked, True
        return (1, True) if self.version >= (0, 11, 5) else (default_candidates(self.version)[0], False)

    def estimate_load(self):
        """The estimator's view of this request. A host without GPUs is discovered as a device of library "cpu"."""
        discovered = self.gpus or [{"library": "cpu"}]
        return Load(
            self.dims,
            self.version,
            self.num_gpu,
            self.batch,
            self.parallel,
            self.overhead_bytes,
            self.projector_bytes,
            self.environment,
            discovered,
        )

    def over_limit(self, residents):
        """Whether a model must go because as many are loaded as may be (OLLAMA_MAX_LOADED_MODELS)."""
        return len(residents or []) >= env.most_loaded(self.environment, len(self.gpus))


def serial(architecture, version):
    """Whether a version serves models of an architecture one request at a time whatever OLLAMA_NUM_PARALLEL says (server/sched.go)."""
    return any(architecture in names for since, names in SERIAL_ARCHITECTURES if version >= since)


def default_slots(version):
    """OLLAMA_NUM_PARALLEL where it is not set; 0 lets the version try (server/sched.go)."""
    return 1 if version >= (0, 10, 0) else 0


def default_candidates(version):
    """Numbers of slots that a version tries where OLLAMA_NUM_PARALLEL is 0."""
    if version >= (0, 10, 0):
        return (1, 1)
    return (2, 1) if version >= (0, 6, 7) else (4, 1)


def default_context(version, gpus, overhead_bytes=0):
    """Tokens of context where neither request, model nor environment names one."""
    if version < TIERS_SINCE:
        return 4096 if version >= (0, 6, 7) else 2048
    total = sum(max(0, gpu["total_bytes"] - overhead_bytes) for gpu in gpus)
    return next(tokens for least, tokens in CONTEXT_TIERS if total >= least)


def decision(request, placed, forced_layers=None, **extra):
    """A decision in the form that all eras share, see `v0_30.decide`.

    Args:
        request: Request.
        placed: list of (position in request.gpus, number of layers), in the order the runner gets them.
        forced_layers: layers that the runner is told to offload beyond what was found to fit, or None.
        extra: entries to set.

    Returns:
        dict as of `v0_30.decide`, and `faults` (list of {name, text}: known faults of the version that this load
        meets) and `hangs` (whether Ollama never returns).
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
        "flash_attention": "off",
        "cache_type": None,
        "predicted_bytes": None,
        "error": None,
        "evicts": False,
        "evicted": 0,
        "faults": [],
        "hangs": False,
    }
    found.update(extra)
    return found


def refused(request, error, evicts=False, **extra):
    """The decision of a load that does not happen: `outcome` None, or "evict" where another model must go first."""
    entries = {
        "outcome": "evict" if evicts else None,
        "error": None if evicts else error,
        "evicts": evicts,
        "evicted": int(evicts),
    }
    entries.update(extra)
    return decision(request, [], **entries)


def loads_whole(found, total_layers):
    """Whether a decision puts all layers of a model on GPUs, and the load ends.

    Args:
        found: a decision.
        total_layers: layers of the model, the output layer among them.
    """
    if found["hangs"] or found["error"] or found["outcome"] not in ("single", "split"):
        return False
    return sum(found["layers"]) >= total_layers


def system_shortage(request, needed):
    """The error where the host lacks memory for the part that stays on it, or None."""
    system = request.system
    if system and needed > system["free_bytes"] + system.get("swap_bytes", 0):
        return (
            "the model needs %d bytes of system memory, %d are available; free system memory or choose a smaller model"
            % (needed, system["free_bytes"] + system.get("swap_bytes", 0))
        )
    return None
