# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Observe one instance of a plan: load its models, let them generate, and read what server and engines say of it.

collect.py decides the order for all instances. This module only collects; checks.py judges.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable

from ..common.names import key_of, served_name
from ..common.visible_devices import VISIBLE_DEVICES
from ..host import device_nodes, proc, systemd
from ..host.unit_properties import main_pid
from ..ollama.client import CANNOT_GENERATE, OllamaClient, OllamaError
from ..ollama.parameters import of_show
from . import asking, engine_log, engines, gpu_memory, loaded_models, server_process
from .concurrency import while_active
from .generations import LEAST_TIMED_TOKENS, answer_problem, speed_of
from .load_progress import LoadProgress
from .planned import planned_uuids
from .shapes import Answer, EngineProcess, ObservedInstance, ObservedModel

#: Tokens of the generation: long enough for several sample periods of NVML on a GPU, short on a CPU.
GPU_TOKENS, CPU_TOKENS = 64, LEAST_TIMED_TOKENS
#: An engine that fails to load ends within this time, so an engine that was just started is checked again after it.
SETTLE_SECONDS = 1.5
#: The journal is read from this long before the start of the first engine, or this far back if no engine runs.
_BEFORE_START_SECONDS, _WITHOUT_ENGINE_SECONDS = 60, 600
_ONE_DAY_SECONDS = 86400
_ENGINE_GONE = "the server lists the model, but the process of its engine is gone"
_RELOADED = "The server listed %s, but the process of its engine was gone: this check has loaded the model again."
_ENDED = "process %d ended after it had loaded the model"
_RESTARTED = "process %%d ended with its server, which was restarted during this check (process %d, then %d)"
_STOPPED = "process %d is stopped by a signal or a debugger (kill -CONT %d lets it go on)"
_NOT_IN_JOURNAL = "the journal no longer has the start of this engine"


class Observer:
    """Observes one instance of a plan, step by step: load, generate, finish, join_devices.

    Args:
        instance: of the plan.
        timeout: seconds without progress.
        properties: systemd's, of the instance's unit.
    """

    def __init__(self, instance: dict[str, Any], timeout: float, properties: dict[str, str]) -> None:
        self.instance = instance
        self.client = OllamaClient(instance["url"], timeout=min(timeout, 30.0))
        self.timeout = timeout
        self.observed = ObservedInstance(unit=properties)
        for model in instance["models"]:
            self.observed.models[served_name(model)] = ObservedModel()
        self._shown: dict[str, dict[str, Any] | None] = {}
        self._main_pid = main_pid(properties)

    @property
    def _sees_engines(self) -> bool:
        """Without a running unit, engines cannot be assigned to it, so a missing engine proves nothing."""
        return self._main_pid != 0

    def has_to_load(self) -> bool:
        """Return whether a planned model is not loaded, or its engine is gone."""
        running = self._running() if self._read_ps() else []
        models = self.observed.models
        return self.observed.reachable and any(
            not models[name].loaded or (self._sees_engines and not self._engine_of(name, running))
            for name in self._residents()
        )

    def _residents(self) -> list[str]:
        """Return the names of the models that stay loaded. The check does not load those on demand."""
        return [served_name(model) for model in self.instance["models"] if model.get("resident", True)]

    def load(self, progress: LoadProgress | None) -> None:
        """Load planned models that are not loaded, unless that could evict another; find the engine of each model.

        Without `progress`, which is told how far the loads are, nothing is loaded.
        """
        if not self._read_ps():
            return
        running = self._running()
        for model in self.instance["models"]:
            name = served_name(model)
            found = self.observed.models[name]
            # /api/ps still lists a model whose engine was killed, and the next request would load it again.
            dead = found.loaded and self._sees_engines and not self._engine_of(name, running)
            if (found.loaded and not dead) or not model.get("resident", True):
                continue
            if progress is None:
                found.died = _ENGINE_GONE if dead else None
                continue
            planned = self.observed.names_of_planned()
            strangers = [loaded for loaded in self.observed.loaded or [] if key_of(loaded) not in planned]
            if strangers:
                found.would_evict = strangers
                continue
            found.reloaded = _RELOADED % name if dead else None
            with progress.of(self.instance["name"], self.instance["unit"], name):
                self._load(model, name, found)
        self._read_ps()
        self._find_engines()

    def can_generate(self, model: dict[str, Any]) -> bool:
        """Return whether a model is loaded, and its engine is alive if engines can be seen."""
        found = self.observed.models[served_name(model)]
        alive = found.engine is not None or not self._sees_engines
        return self.observed.reachable and found.loaded and alive and not found.died

    def generate(self, model: dict[str, Any]) -> None:
        """Let a loaded model generate a short answer, or return a vector."""
        name = served_name(model)
        found = self.observed.models[name]
        wanted = GPU_TOKENS if planned_uuids(model) else CPU_TOKENS
        keep, content = model.get("keep_alive", -1), asking.content_of(model, self._blob(name))
        blank = Answer(self.instance["unit"], name, content)
        try:
            answer = self._while_active(
                lambda: self.client.generate(
                    name, asking.PROMPT, asking.options(wanted), keep, _ONE_DAY_SECONDS, asking.LIKELIEST
                )
            )
        except OllamaError as error:
            if CANNOT_GENERATE in error.message:
                found.not_generated, found.vectors_only = error.message, True
                seconds = asking.SAMPLE_SECONDS if planned_uuids(model) else 0
                found.answer = asking.vector_of(blank, self.client, keep, self.timeout, seconds)
            else:
                found.generation_error = error.message
            return
        found.answer = asking.answer_of(blank, answer)
        found.generation_error = answer_problem(answer, name)
        found.answered = found.generation_error is None or None
        speed = speed_of(answer)
        found.tokens_per_second = None if speed is None else round(speed, 2)

    def finish(self, sockets: list[dict[str, Any]], properties: dict[str, str]) -> None:
        """Read what is loaded now, whether the engines that were seen are still alive, and what they logged.

        Args:
            sockets: of host/listeners.py.
            properties: systemd's, of the instance's unit, at the moment of the sockets.
        """
        pid = main_pid(properties)
        restarted = pid != self._main_pid and pid and self._main_pid
        ended = _RESTARTED % (self._main_pid, pid) if restarted else _ENDED
        self.observed.unit, self._main_pid = properties, pid
        if not self.observed.reachable:
            return
        if any(found.fresh for found in self.observed.models.values()):
            time.sleep(SETTLE_SECONDS)
        self._read_ps()
        for found in self.observed.models.values():
            if found.engine and not proc.is_alive(found.engine.pid, found.engine.started):
                found.died = ended % found.engine.pid
            elif found.engine and proc.is_stopped(found.engine.pid):
                found.died = _STOPPED % (found.engine.pid, found.engine.pid)
        before = {name: found.engine for name, found in self.observed.models.items()}
        self._find_engines()
        for name, found in self.observed.models.items():
            found.stayed = found.engine is not None and found.engine.is_process(before[name]) or None
        for found in self.observed.models.values():
            if found.loaded and not found.engine and self._sees_engines:
                found.died = found.died or _ENGINE_GONE
            if found.fresh and not found.loaded:
                found.died = found.died or "the model was loaded and is no longer"
        self._read_journal()
        server_process.read(self.client, self.instance, self.observed, sockets)
        self._read_store()

    def join_devices(self, gpus: list[dict[str, Any]]) -> None:
        """Find the GPU behind each device of the engines' logs (CUDA0 ...), and device nodes that are closed to the
        service; `gpus` is the list of the GPU facts."""
        nodes = device_nodes.own_nodes(gpus, self.instance.get("gpu_uuids") or [])
        self.observed.closed_nodes = device_nodes.closed_nodes(self.observed.unit, nodes) if nodes else {}
        for found in self.observed.models.values():
            if found.log:
                visible = ((found.engine and found.engine.environment) or {}).get(VISIBLE_DEVICES)
                found.device_uuids = engine_log.device_uuids(found.log, visible, gpus)

    def strangers_on_gpus(self, inventory: dict[str, Any]) -> bool:
        """Return whether NVML lists a process of the unit that does not run a planned model."""
        known = {found.engine.pid for found in self.observed.models.values() if found.engine}
        listed = gpu_memory.devices(inventory).values()
        unit = self.instance["unit"]
        return any(process["pid"] not in known for device in listed for process in device.of_unit(unit))

    def _read_ps(self) -> bool:
        try:
            listed = self.client.ps()
        except OllamaError as error:
            self.observed.reachable, self.observed.error = False, error.message
            return False
        self.observed.reachable, self.observed.loaded = True, sorted(entry["name"] for entry in listed)
        entries = loaded_models.entries(self.instance["models"], listed, self.client.tags)
        for name, found in self.observed.models.items():
            found.ps = entries[name]
            found.loaded = found.ps is not None
        return True

    def _load(self, model: dict[str, Any], name: str, found: ObservedModel) -> None:
        began = time.monotonic()
        keep_alive = model.get("keep_alive", -1)
        try:
            self._while_active(lambda: self.client.load(name, keep_alive=keep_alive, timeout=_ONE_DAY_SECONDS))
        except OllamaError as error:
            found.load_error = error.message
            return
        found.load_seconds = round(time.monotonic() - began, 2)
        found.fresh = True

    def _while_active(self, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return while_active(self.instance["unit"], self.timeout, call)

    def _engine_of(self, name: str, running: list[EngineProcess]) -> EngineProcess | None:
        only_model = len(self.observed.models) == 1 and len(self.observed.loaded or []) == 1
        context_length = (self.observed.models[name].ps or {}).get("context_length")
        return engines.engine_of(running, self._blob(name), context_length, only_model)

    def _show(self, name: str) -> dict[str, Any] | None:
        """The answer of the server to /api/show for a model; None without an answer."""
        if name not in self._shown:
            try:
                self._shown[name] = self.client.show(name)
            except OllamaError:
                self._shown[name] = None  # the model was deleted while it is loaded
        return self._shown[name]

    def _blob(self, name: str) -> str | None:
        """Return the base name of the model's blob; None if unknown: `_engine_of` then takes the only engine."""
        return loaded_models.file_of(self._show(name) or {})

    def _running(self) -> list[EngineProcess]:
        return engines.of_server(engines.engines(self.instance["unit"]), self._main_pid)

    def _find_engines(self) -> None:
        running = self._running()
        for name, found in self.observed.models.items():
            found.engine = self._engine_of(name, running) if found.loaded else None

    def _read_store(self) -> None:
        """Read which files and manifests the server has for each model and for the one that the plan makes it from."""
        stored = server_process.digests(self.client)
        for model in self.instance["models"]:
            name, base = served_name(model), model.get("from") or model["name"]
            found = self.observed.models[name]
            found.served_file, found.base_file = self._blob(name), self._blob(base)
            shown = self._show(name)
            found.parameters = None if shown is None else of_show(shown.get("parameters"))
            found.stored_digest = stored.get(key_of(name))
            found.alias_digests = server_process.alias_digests(model, stored)

    def _has_read_journal(self, lines: list[str]) -> bool:
        """Return whether the journal really lacks the missing lines. Only root is sure to see all lines."""
        return self.observed.journal_problem is None and (bool(lines) or os.geteuid() == 0)

    def _read_journal(self) -> None:
        models = self.observed.models
        starts = [proc.start_time(found.engine.started) for found in models.values() if found.engine]
        known = [start for start in starts if start is not None]
        since = min(known) - _BEFORE_START_SECONDS if known else time.time() - _WITHOUT_ENGINE_SECONDS
        lines, self.observed.journal_problem = systemd.journal(self.instance["unit"], since)
        for name, found in models.items():
            if found.engine:
                started = proc.start_time(found.engine.started)
                own = engine_log.engine_lines(lines, found.engine.port, found.engine.model_file, started)
            else:
                own = engine_log.engine_lines(lines, None, self._blob(name)) if self._blob(name) else []
            found.log = engine_log.parse_engine(own)
            if found.log is None and not own and self._has_read_journal(lines):
                found.log_missing = _NOT_IN_JOURNAL
            if found.log and found.loaded and found.load_seconds is None:
                found.load_seconds = found.log.load_seconds
