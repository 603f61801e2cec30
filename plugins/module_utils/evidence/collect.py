# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Gather the evidence for a plan on its host: NVML, /api/ps, the units' processes and journals. Judges nothing.

The order matters: load what is not loaded, one short generation a model while NVML is sampled, then one reading of all
GPUs and processes. Instances load side by side; generations that share a GPU run one after the other, so that a busy GPU
is the work of one model.
"""

from __future__ import annotations

import threading
import time

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing, import_pynvml
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import journal, unit
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.names import planned_uuids, served_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import nvml, sysfs
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.sampler import Sampler
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient, OllamaError

PROMPT = "Write one sentence about the sea."
#: Tokens of the generation: long enough for several of NVML's sample periods on a GPU, short on a CPU.
GPU_TOKENS, CPU_TOKENS = 64, 8
#: An engine that loads and dies does so at once: one that was just started is looked at again after so many seconds.
SETTLE_SECONDS = 1.5
_POLL = 0.5


class Evidence:
    """The evidence of one instance of the plan, gathered step by step.

    `data` is {"reachable", "error", "unit": systemctl's properties, "journal": why it cannot be read or None,
    "loaded": names in /api/ps, "models": {served name: {"loaded", "load_error", "would_evict", "ps", "engine", "died",
    "log", "devices", "load_seconds", "tokens_per_second", "generation_error", "utilization_peak"}}}.
    """

    def __init__(self, instance, timeout, properties):
        self.instance = instance
        self.client = OllamaClient(instance["url"], timeout=min(timeout, 30.0))
        self.timeout = timeout
        self.data = {"reachable": False, "error": None, "unit": properties, "journal": None, "loaded": [], "models": {}}
        for model in instance["models"]:
            self.data["models"][served_name(model)] = {
                "loaded": False,
                "load_error": None,
                "would_evict": [],
                "ps": None,
                "engine": None,
                "died": None,
                "log": None,
                "devices": {},
                "load_seconds": None,
                "tokens_per_second": None,
                "generation_error": None,
                "utilization_peak": None,
                "fresh": False,
            }
        self._blobs = {}
        # Without a running unit there is no telling whose process an engine is: nothing is then said about engines.
        self._sees_engines = properties.get("MainPID", "0") != "0"

    # -- steps -------------------------------------------------------------------------------------------------------------------

    def load(self, allowed):
        """Load what the plan wants loaded and is not, unless that would evict something; look which engine serves each model."""
        if not self._read_ps():
            return
        engines = unit.engines(self.instance["unit"])
        for model in self.instance["models"]:
            name = served_name(model)
            found = self.data["models"][name]
            # /api/ps goes on listing a model whose engine was killed; the next request would load it again.
            dead = found["loaded"] and self._sees_engines and not self._engine_of(name, engines)
            if found["loaded"] and not dead:
                continue
            if not allowed:
                found["died"] = "the server lists the model, but the engine's process is gone" if dead else None
                continue
            planned = set(self.data["models"])
            strangers = [loaded for loaded in self.data["loaded"] if loaded not in planned]
            if strangers:
                found["would_evict"] = strangers
                continue
            self._load(model, name, found)
        self._read_ps()
        self._find_engines()

    def generate(self, model):
        """One short generation with a model that is loaded; what it yields is in the model's data."""
        name = served_name(model)
        found = self.data["models"][name]
        tokens = GPU_TOKENS if planned_uuids(model) else CPU_TOKENS
        try:
            answer = self._while_active(
                lambda: self.client.generate(
                    name, PROMPT, options={"num_predict": tokens}, keep_alive=model.get("keep_alive", -1), timeout=86400
                )
            )
        except OllamaError as error:
            found["generation_error"] = error.message
            return
        spent = answer.get("eval_duration") or 0
        if spent:
            found["tokens_per_second"] = round((answer.get("eval_count") or 0) * 1e9 / spent, 2)

    def finish(self):
        """Read what is loaded now, whether the engines that were seen still live, and what they logged."""
        if not self.data["reachable"]:
            return
        if any(found["fresh"] for found in self.data["models"].values()):
            time.sleep(SETTLE_SECONDS)
        self._read_ps()
        before = {name: found["engine"] for name, found in self.data["models"].items()}
        for name, engine in before.items():
            found = self.data["models"][name]
            if engine and not unit.is_alive(engine["pid"], engine["started"]):
                found["died"] = "process %d ended after it had loaded the model" % engine["pid"]
        self._find_engines()
        for name, found in self.data["models"].items():
            if found["loaded"] and not found["engine"] and self._sees_engines:
                found["died"] = found["died"] or "the server lists the model, but the engine's process is gone"
            if found["fresh"] and not found["loaded"]:
                found["died"] = found["died"] or "the model was loaded, and is not any more"
        self._read_journal()

    def join_devices(self, gpus):
        """Name the GPU behind each of the engine's devices (CUDA0 ...); `gpus` is the facts' list."""
        for found in self.data["models"].values():
            if found["log"]:
                environment = (found["engine"] or {}).get("environment") or {}
                found["devices"] = journal.device_uuids(found["log"], environment.get("CUDA_VISIBLE_DEVICES"), gpus)

    # -- parts -------------------------------------------------------------------------------------------------------------------

    def _read_ps(self):
        try:
            listed = {entry["name"]: entry for entry in self.client.ps()}
        except OllamaError as error:
            self.data["reachable"], self.data["error"] = False, error.message
            return False
        self.data["reachable"], self.data["loaded"] = True, sorted(listed)
        for name, found in self.data["models"].items():
            found["ps"] = listed.get(name)
            found["loaded"] = name in listed
        return True

    def _load(self, model, name, found):
        began = time.monotonic()
        try:
            self._while_active(lambda: self.client.load(name, keep_alive=model.get("keep_alive", -1), timeout=86400))
        except OllamaError as error:
            found["load_error"] = error.message
            return
        found["load_seconds"] = round(time.monotonic() - began, 2)
        found["fresh"] = True

    def _while_active(self, call):
        """Run a call that answers only when it is done; give up when its unit has done nothing for `timeout` seconds."""
        outcome = {}

        def work():
            try:
                outcome["value"] = call()
            except OllamaError as error:
                outcome["error"] = error
            except Exception as error:  # pylint: disable=broad-except
                outcome["error"] = OllamaError(None, "%s: %s" % (type(error).__name__, error))

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        last, since = None, time.monotonic()
        while True:
            worker.join(_POLL)
            if not worker.is_alive():
                break
            now = unit.activity(self.instance["unit"])
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > self.timeout:
                raise OllamaError(
                    None, "nothing has moved in %s for %g seconds" % (self.instance["unit"], self.timeout)
                )
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def _engine_of(self, name, engines):
        """Return the engine that serves a model: by its blob, else the only one there is; of several the newest."""
        blob = self._blob(name)
        matches = [engine for engine in engines if blob and engine["model_file"] == blob]
        if len(matches) > 1:
            # The plain and the optimized model share a blob: the context length tells them apart.
            context = str((self.data["models"][name]["ps"] or {}).get("context_length"))
            matches = [engine for engine in matches if unit.option(engine["arguments"], "-c") == context] or matches
        if not matches and len(self.data["models"]) == 1 and len(self.data["loaded"]) == 1:
            matches = engines
        return matches[-1] if matches else None

    def _blob(self, name):
        """Base name of the model's weights blob, from the FROM line of its Modelfile (/api/show); None where the server does not say."""
        if name not in self._blobs:
            self._blobs[name] = None
            try:
                for line in (self.client.show(name).get("modelfile") or "").splitlines():
                    if line.startswith("FROM ") and "sha256-" in line:
                        self._blobs[name] = line.split("/")[-1].strip()
                        break
            except OllamaError:
                pass  # the model is gone from the store while it is loaded: the only engine is taken
        return self._blobs[name]

    def _find_engines(self):
        engines = unit.engines(self.instance["unit"])
        for name, found in self.data["models"].items():
            engine = self._engine_of(name, engines) if found["loaded"] else None
            if engine:
                environment = sysfs.process_environment(engine["pid"]) or {}
                engine = dict(
                    engine,
                    environment={
                        key: value
                        for key, value in environment.items()
                        if key.startswith(("CUDA_", "OLLAMA_", "LLAMA_ARG_"))
                    },
                )
            found["engine"] = engine

    def _read_journal(self):
        starts = [
            unit.start_time(found["engine"]["started"]) for found in self.data["models"].values() if found["engine"]
        ]
        known = [start for start in starts if start is not None]
        since = min(known) - 60 if known else time.time() - 600
        lines, self.data["journal"] = unit.journal(self.instance["unit"], since)
        for name, found in self.data["models"].items():
            engine = found["engine"]
            if engine:
                own = journal.engine_lines(lines, engine["port"], engine["model_file"])
            else:
                own = journal.engine_lines(lines, None, self._blob(name)) if self._blob(name) else []
            found["log"] = journal.parse_engine(own)
            if found["log"] and found["loaded"] and found["load_seconds"] is None:
                found["load_seconds"] = found["log"]["load_seconds"]


def rounds(instances):
    """Return [[(instance, model)]]: generations that may run at the same time, as no two of a round share a GPU or an instance."""
    result = []
    for instance in instances:
        for model in instance["models"]:
            takes = set(planned_uuids(model)) | {instance["name"]}
            for chosen, taken in result:
                if not taken & takes:
                    chosen.append((instance, model))
                    taken |= takes
                    break
            else:
                result.append(([(instance, model)], set(takes)))
    return [chosen for chosen, taken in result]


def collect(plan, load=True, generate=True, timeout=300.0, nvml_timeout=30.0):
    """Return {"inventory": facts, "instances": {name: data of Evidence}} for a plan.

    `load`: load what is not loaded (nothing is ever evicted for it); `generate`: run the generations.
    `timeout`: seconds without progress. Raises LibraryMissing (requests; nvidia-ml-py only where the plan uses GPUs).
    """
    instances = plan.get("instances") or []
    properties = unit.show([instance["unit"] for instance in instances])
    gathered = {
        instance["name"]: Evidence(instance, timeout, properties.get(instance["unit"], {})) for instance in instances
    }
    uses_gpus = any(planned_uuids(model) for instance in instances for model in instance["models"])
    try:
        pynvml = import_pynvml()
    except LibraryMissing:
        if uses_gpus:
            raise
        pynvml = None
    in_parallel([lambda one=one: one.load(load) for one in gathered.values()])
    if generate:
        for together in rounds(instances):
            ready = [
                (gathered[instance["name"]], model)
                for instance, model in together
                if _can_generate(gathered[instance["name"]].data, model)
            ]
            if not ready:
                continue
            sampler = Sampler(pynvml) if pynvml else None
            in_parallel([lambda one=one, model=model: one.generate(model) for one, model in ready])
            peaks = sampler.finish(nvml_timeout)["utilization_peak"] if sampler else {}
            for one, model in ready:
                one.data["models"][served_name(model)]["utilization_peak"] = {
                    uuid: peaks.get(uuid) for uuid in planned_uuids(model)
                }
    in_parallel([one.finish for one in gathered.values()])
    inventory = nvml.read_inventory(nvml_timeout)[0]
    for one in gathered.values():
        one.join_devices(inventory["gpus"])
    return {"inventory": inventory, "instances": {name: one.data for name, one in gathered.items()}}


def _can_generate(data, model):
    found = data["models"][served_name(model)]
    seen = found["engine"] or data["unit"].get("MainPID", "0") == "0"
    return bool(data["reachable"] and found["loaded"] and seen and not found["died"])


def in_parallel(calls):
    """Run calls in threads and wait for all; the first exception of any of them is raised here."""
    problems = []

    def guarded(call):
        try:
            call()
        except Exception as error:  # pylint: disable=broad-except
            problems.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
