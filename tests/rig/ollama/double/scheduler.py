# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The running engines: loading, reloading, evicting, expiring. choosing.py chooses the GPUs."""

from __future__ import annotations

import threading
import time

from . import choosing, discovery, gotext, settings
from .engine import Engine
from .errors import ApiError

RELOADING = ("num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
_TIERS = (262144, 32768, 4096)


class Runner:
    """A model with its engine. `keep` and `expires` are in seconds; `users` is the number of active requests."""

    def __init__(self, model, options, choice, engine):
        self.model, self.options, self.choice, self.engine = model, options, choice, engine
        self.keep, self.expires, self.users = 0.0, 0.0, 0

    def listed(self):
        """The entry of /api/ps."""
        whole = int(self.expires)
        expires = gotext.timestamp(whole, int((self.expires - whole) * 1e9) or 1)
        return {
            "name": self.model.name.shortest,
            "model": self.model.name.shortest,
            "size": self.engine.size,
            "digest": self.model.manifest.digest,
            "details": self.model.details(parent=False),
            "expires_at": expires,
            "size_vram": self.engine.size_vram,
            "context_length": self.choice.context // self.choice.parallel,
        }

    def resident(self):
        """The engine as the server knows it, with its device indices converted to those of the server."""
        indices = tuple(gpu.index for gpu in self.choice.gpus)
        return choosing.Resident(
            indices,
            {index: self.engine.used.get(place, 0) for place, index in enumerate(indices)},
            {
                index: self.engine.free.get(place, gpu.free)
                for place, (index, gpu) in enumerate(zip(indices, self.choice.gpus))
            },
        )


class Scheduler:
    """All runners of one server by the path of the model's blob: two names of one blob share a runner.

    `_loading` is held during a load, `_table` only for a look-up: a loaded model answers while another one loads.
    """

    def __init__(self):
        self.runners = {}
        self._table, self._loading = threading.Lock(), threading.Lock()
        self._waiting, self._starting = 0, None
        self.gpus, self.names = discovery.discover()
        total = [gpu.total for gpu in self.gpus]
        self.tier = choosing.default_context(total, settings.overhead())
        gotext.log(
            "INFO",
            "routes.go:2058",
            "vram-based default context",
            total_vram=gotext.human_bytes2(sum(total)),
            default_num_ctx=self.tier,
        )
        threading.Thread(target=self._expire, daemon=True).start()

    def acquire(self, model, options, keep):
        """The Runner for a request, loaded if necessary. It must be released with `release`. ApiError if the load
        fails.
        """
        runner = self._loaded(model, options, keep)
        if runner:
            return runner
        if self._waiting >= max(settings.unsigned("OLLAMA_MAX_QUEUE", 512), 1):
            raise ApiError(503, "server busy, please try again.  maximum pending requests exceeded")
        self._waiting += 1
        try:
            with self._loading:
                runner = self._loaded(model, options, keep)
                if runner:
                    return runner
                if model.path in self.runners:
                    self._end(self.runners[model.path])
                runner = self._load(model, options)
                runner.keep = settings.keep_alive() if keep is None else keep
                runner.users = 1
                self._touch(runner)
                with self._table:
                    self.runners[model.path] = runner
                gotext.log("INFO", "sched.go:728", "loaded runners", count=len(self.runners))
                return runner
        finally:
            self._waiting -= 1

    def _loaded(self, model, options, keep):
        """The runner that can serve a request as it is, acquired; or None."""
        with self._table:
            runner = self.runners.get(model.path)
            if runner is None or self._stale(runner, model, options):
                return None
            if keep is not None:
                runner.keep = keep
            runner.users += 1
            self._touch(runner)
            return runner

    def release(self, runner):
        """The request has ended: the keep-alive time starts."""
        with self._table:
            runner.users -= 1
            self._touch(runner)
            gone = runner.keep <= 0 and not runner.users
        if gone:
            self._unload(runner)

    def unload(self, model):
        """Unload the model, as `keep_alive: 0` without a prompt does."""
        runner = self.runners.get(model.path)
        if runner:
            runner.keep = 0.0
            if not runner.users:
                self._unload(runner)

    def listed(self):
        """The models of /api/ps, the one that stays longest first."""
        with self._table:
            return [
                runner.listed() for runner in sorted(self.runners.values(), key=lambda runner: -int(runner.expires))
            ]

    def stop(self):
        """Stop all engines, also one that is loading."""
        engines = [runner.engine for runner in list(self.runners.values())] + [self._starting]
        for engine in engines:
            if engine:
                engine.stop()

    @staticmethod
    def _touch(runner):
        runner.expires = time.time() + runner.keep

    def _stale(self, runner, model, options):
        """Whether a request needs a restart of the engine (sched.go needsReload). The context that the request gets is
        compared with that of the engine; two that were left to the server are the same.
        """
        old, new = dict(runner.options), dict(options)
        asked = [one.get("num_ctx") for one in (old, new)]
        context = self._effective_context(model, options)
        other_context = asked != [None, None] and context != runner.choice.context // runner.choice.parallel
        if new.get("num_gpu", -1) < 0:
            old.pop("num_gpu", None)
            new.pop("num_gpu", None)
        changed = any(old.get(name) != new.get(name) for name in RELOADING)
        return (
            changed
            or other_context
            or runner.model.adapters != model.adapters
            or runner.model.projectors != model.projectors
            or not runner.engine.healthy()
        )

    def _effective_context(self, model, options):
        asked = max(options.get("num_ctx", self._settings().default_context), 4)
        trained = model.header.number("context_length", max)
        return min(asked, trained) if trained else asked

    def _unload(self, runner):
        with self._table:
            if self.runners.get(runner.model.path) is runner:
                del self.runners[runner.model.path]
        runner.engine.stop()

    def _expire(self):
        while True:
            time.sleep(0.1)
            for runner in list(self.runners.values()):
                if not runner.users and runner.expires <= time.time():
                    self._unload(runner)

    def _end(self, runner):
        """Unload a runner when its requests have ended."""
        while runner.users and runner.engine.alive:
            time.sleep(0.02)
        self._unload(runner)

    def _evict_one(self):
        """Evict one runner: idle ones first, then by keep-alive time, then by the name of the blob."""
        self._end(min(self.runners.values(), key=lambda runner: (runner.users > 0, runner.keep, runner.model.path)))

    def _settings(self):
        return choosing.Settings(
            default_context=settings.unsigned("OLLAMA_CONTEXT_LENGTH", 0) or self.tier,
            parallel=settings.unsigned("OLLAMA_NUM_PARALLEL", 1),
            spread=settings.boolean("OLLAMA_SCHED_SPREAD"),
            flash_attention=settings.flash_attention(),
            kv_cache_type=settings.var("OLLAMA_KV_CACHE_TYPE"),
        )

    def _refreshed(self):
        """The GPUs with their current free memory, as the server computes it."""
        residents = [runner.resident() for runner in self.runners.values()]
        covered = {index for resident in residents for index in resident.gpus}
        gpus = self.gpus
        if gpus and not all(gpu.index in covered for gpu in gpus):
            listed = discovery.devices()
            gpus = [
                choosing.Gpu(**dict(gpu.__dict__, free=listed[gpu.index][2] if gpu.index < len(listed) else 0))
                for gpu in gpus
            ]
        found = choosing.accounted_free(gpus, residents)
        for gpu in found if residents else ():
            gotext.log(
                "INFO",
                "sched.go:1332",
                "updated VRAM based on existing loaded models",
                gpu=str(gpu.index),
                library=gpu.library,
                total=gotext.human_bytes2(gpu.total),
                available=gotext.human_bytes2(gpu.free),
            )
        return found

    def _place(self, model, options):
        """The Choice for a model, after evicting the models beside which it does not fit."""
        shape, limit = model.shape(), settings.unsigned("OLLAMA_MAX_LOADED_MODELS", 0) or 3 * max(len(self.gpus), 1)
        while True:
            while self.runners and len(self.runners) >= limit:
                self._evict_one()
            choice = choosing.choose(shape, self._refreshed(), self._settings(), options)
            if self.runners and choosing.must_evict(choice, shape, options):
                self._evict_one()
                continue
            self._log_choice(model, choice, options)
            if self.runners and choice.gpus:
                free, host = (
                    gotext.human_bytes2(sum(gpu.free for gpu in choice.gpus)),
                    gotext.human_bytes2(discovery.host_memory()["MemAvailable"]),
                )
                gotext.log(
                    "INFO",
                    "sched.go:562",
                    "llama-server model fits alongside existing models",
                    predicted=gotext.human_bytes2(choice.predicted),
                    predicted_num_ctx=choice.context // choice.parallel,
                    num_batch=choice.batch,
                    available=free,
                    gpu_free=free,
                    system_free=host,
                    system_limited=False,
                )
            self._log_start(model, options)
            return choice

    def _load(self, model, options):
        wanted = dict(options)
        for last in (False, True):
            choice = self._place(model, wanted)
            engine = None
            try:
                engine = self._starting = Engine(model, choice, wanted, self._load_mode(model, choice, wanted))
                self._log_memory(model, choice)
                engine.wait_ready()
                return Runner(model, dict(options), choice, engine)
            except ApiError as error:
                if engine:
                    engine.stop()
                gotext.log("INFO", "sched.go:641", "Load failed", model=model.path, error=error.text)
                if last or "out of memory" not in error.text or not self._retry(wanted, choice):
                    raise
            finally:
                self._starting = None
        raise AssertionError("the second try returns or raises")

    def _retry(self, wanted, choice):
        """Retry once after an out-of-memory error (sched.go:640-680).

        An automatic context is lowered by one tier; otherwise all other models are evicted.
        """
        lower = [tier for tier in _TIERS if tier < choice.context // choice.parallel]
        if "num_ctx" not in wanted and not settings.unsigned("OLLAMA_CONTEXT_LENGTH", 0) and lower:
            wanted["num_ctx"] = lower[0]
            return True
        if not self.runners:
            return False
        while self.runners:
            self._evict_one()
        return True

    @staticmethod
    def _load_mode(model, choice, options):
        if options.get("use_mmap") is not None:
            return None if options["use_mmap"] else "none"
        if not choice.gpus or options.get("num_gpu", -1) == 0:
            gotext.log(
                "INFO",
                "sched.go:1147",
                "disabling mmap for llama-server load by default",
                model=model.path,
                reason="cpu",
            )
            return "none"
        if model.header.size > discovery.host_memory()["MemAvailable"]:
            gotext.log(
                "INFO",
                "sched.go:1160",
                "disabling mmap for llama-server load due to host memory pressure",
                model=model.path,
            )
            return "none"
        return None

    def _log_choice(self, model, choice, options):
        if choice.main_gpu is not None and len(choice.gpus) == 1 < len(self.gpus):
            gpu = choice.gpus[0]
            what = dict(
                main_gpu=choice.main_gpu,
                id=str(gpu.index),
                filter_id=gpu.filter_id,
                library=gpu.library,
                name="CUDA%d" % gpu.index,
                description=self.names[gpu.index],
                integrated=False,
            )
            available = gotext.human_bytes2(gpu.free)
            if "main_gpu" in options:
                gotext.log(
                    "INFO",
                    "sched.go:995",
                    "selecting requested single GPU for llama-server model",
                    requested_main_gpu=options["main_gpu"],
                    **what,
                    available=available,
                )
            else:
                gotext.log(
                    "INFO",
                    "sched.go:1013",
                    "selecting single GPU for llama-server model",
                    **what,
                    predicted=gotext.human_bytes2(choice.predicted),
                    available=available,
                )
            gotext.log(
                "INFO",
                "sched.go:1132",
                "selecting GPU backend for llama-server model",
                library=gpu.library,
                gpu_count=1,
                available_gpu_count=len(self.gpus),
            )

    def _log_start(self, model, options):
        asked = options.get("num_ctx", self._settings().default_context)
        gotext.log("INFO", "server.go:109", "using llama-server for model", model=model.path)
        trained = model.header.number("context_length", max)
        if trained and asked > trained:
            gotext.log(
                "WARN",
                "server.go:114",
                "requested context size too large for model",
                num_ctx=asked,
                n_ctx_train=trained,
            )

    @staticmethod
    def _log_memory(model, choice):
        memory, overhead = discovery.host_memory(), settings.overhead()
        gotext.log(
            "INFO",
            "sched.go:613",
            "system memory",
            total=gotext.human_bytes2(memory["MemTotal"]),
            free=gotext.human_bytes2(memory["MemAvailable"]),
            free_swap=gotext.human_bytes2(memory.get("SwapFree", 0)),
        )
        for gpu in choice.gpus if choice.pins_devices else ():
            available = max(gpu.free - overhead - (457 << 20), 0)
            gotext.log(
                "INFO",
                "sched.go:620",
                "gpu memory",
                id=str(gpu.index),
                library=gpu.library,
                available=gotext.human_bytes2(available),
                free=gotext.human_bytes2(gpu.free),
                minimum="457.0 MiB",
                overhead=gotext.human_bytes2(overhead),
            )
        gotext.log("INFO", "llama_server.go:1048", "loading model via llama-server", model=model.path)
