# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Measure a plan: ask the installed engine how much memory each model takes, and put its figures into the plan."""

from __future__ import annotations

import contextlib
from typing import Any, Sequence

from ..common.gpu_devices import devices_by_uuid
from ..common.names import InvalidName, draft_name, parse
from ..common.sizes import gib
from ..ollama import manifest as media
from ..ollama.store import Store, StoreError
from ..releases import engine_start, libraries, versions
from . import dry_run, plan_figures
from .memory_table import DeviceMemory


def measure_plan(
    plan: dict[str, Any],
    gpu_inventory: dict[str, Any],
    engine: str,
    stores: Sequence[str] = (),
    timeout: float = 60.0,
    applied_plan: Any = None,
) -> dict[str, Any]:
    """Return the plan with the engine's figures for every model that can be measured.

    Where a model is not measured, `warnings` says why. Where the engine expects more than the GPUs have, the plan is no
    longer feasible.

    Args:
        plan: of placement_info; not changed.
        gpu_inventory: the facts that the plan was made with (free memory as it is now).
        engine: path of llama-server.
        stores: further models directories to look for the models' files in.
        timeout: seconds for each model.
        applied_plan: the plan in force on the host. Its measured figures are kept for the same model, settings and
            release where a dry run could disturb what runs now. Otherwise a loaded model would turn its own measured
            plan back into a prediction.
    """
    plan = dict(
        plan,
        instances=[
            dict(instance, models=[dict(model) for model in instance["models"]]) for instance in plan["instances"]
        ],
        warnings=list(plan["warnings"]),
    )
    measurement = _Measurement(plan, gpu_inventory, engine, stores, timeout)
    for instance in plan["instances"]:
        for model in instance["models"]:
            try:
                memory = measurement.memory(instance, model, applied_plan)
                plan_figures.check_weights(model["predicted"], memory)
            except (dry_run.NotMeasured, ValueError) as error:
                plan["warnings"].append("%s on %s is not measured: %s." % (model["name"], instance["name"], error))
                continue
            model["predicted"], notes = plan_figures.with_figures(model["predicted"], memory)
            plan["warnings"].extend(
                "The engine itself expects %s to take %s." % (model["name"], note) for note in notes
            )
    missing = plan_figures.missing_bytes(plan)
    return plan_figures.infeasible(plan, missing) if missing else plan


class _Measurement:
    """Asks the engine for the models of one plan, once for all that differ only in their GPUs (replicas)."""

    def __init__(
        self, plan: dict[str, Any], gpu_inventory: dict[str, Any], engine: str, stores: Sequence[str], timeout: float
    ) -> None:
        self._plan = plan
        self._devices = devices_by_uuid(gpu_inventory)
        self._driver = gpu_inventory.get("driver_version")
        self._engine = engine
        self._stores = stores
        self._timeout = timeout
        self._answers: dict[str, dict[str, DeviceMemory]] = {}

    def memory(self, instance: dict[str, Any], model: dict[str, Any], applied_plan: Any) -> dict[str, DeviceMemory]:
        """Return {uuid: memory} of a model, from the engine or, where that could disturb, from the applied plan.

        Raises:
            NotMeasured: there is neither.
            ValueError: the engine sees another number of GPUs than planned.
        """
        reason = plan_figures.reason_not_to_measure(self._plan, model)
        if reason:
            raise dry_run.NotMeasured(reason)
        path, drafts, adapters = _files(model, [instance["store"]] + list(self._stores) + [self._plan["models_dir"]])
        try:
            self._check_undisturbed(instance)
        except dry_run.Busy:
            measured = plan_figures.applied_figures(applied_plan, self._plan, instance, model)
            if measured is None:
                raise
            return measured
        # Ollama gives the draft to the engine only where the plan has tokens proposed.
        draft = drafts[0] if drafts and (model.get("speculation") or {}).get("draft") else None
        flash = self._flash_attention(instance)
        library = self._library(instance)
        run = dry_run.DryRun(self._engine, path, instance, model, flash, draft, tuple(adapters), library)
        key = run.key()
        if key not in self._answers:
            self._answers[key] = dry_run.measure(run, self._timeout)
        return plan_figures.by_uuid(model["predicted"], self._answers[key])

    def _check_undisturbed(self, instance: dict[str, Any]) -> None:
        """Raise Busy where a dry run could disturb what runs on the instance's GPUs now."""
        for uuid in instance["gpu_uuids"]:
            device = self._devices.get(uuid) or {}
            free = (device.get("memory") or {}).get("free_bytes") or 0
            if free < dry_run.LEAST_FREE_BYTES:
                raise dry_run.Busy(
                    "GPU %s has only %s free, and a dry run needs a CUDA context there" % (uuid, gib(free))
                )
            if "exclusive" in str(device.get("compute_mode") or "").lower():
                raise dry_run.Busy(
                    "GPU %s is in exclusive compute mode, and a dry run could block the process that uses it" % uuid
                )

    def _library(self, instance: dict[str, Any]) -> str:
        """Return the CUDA library that Ollama takes for the instance's GPUs; "" where it has none for them."""
        release = versions.release_of(self._plan["ollama_version"])
        requested = instance["environment"].get("OLLAMA_LLM_LIBRARY", "")
        usable = [
            release.gpu_libraries(self._capability(uuid), self._driver, requested) for uuid in instance["gpu_uuids"]
        ]
        return libraries.taken(usable)[0] if usable and all(usable) else ""

    def _capability(self, uuid: str) -> tuple[int, ...] | None:
        return libraries.compute_capability((self._devices.get(uuid) or {}).get("compute_capability"))

    def _flash_attention(self, instance: dict[str, Any]) -> str:
        """Return the engine's option --flash-attn as Ollama would set it."""
        capabilities = [{"compute_capability": self._capability(uuid)} for uuid in instance["gpu_uuids"]]
        version = versions.parse_version(self._plan["ollama_version"])
        return engine_start.flash_attention(capabilities, instance["environment"], version)


def _files(model: dict[str, Any], stores: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """Return the paths of the GGUF files (model, drafts, adapters) in the first store that has the model.

    Raises:
        NotMeasured: no store has it, or it has several model files.
    """
    for path in stores:
        store = Store(path)
        for name in (model["from"], model["create_as"]):
            try:
                manifest = store.complete(parse(name))
            except (StoreError, InvalidName):
                continue
            if manifest is None:
                continue
            layers = manifest.of_type(media.MODEL)
            if len(layers) == 1:
                drafts = [store.blob_path(layer.digest) for layer in manifest.drafts()]
                adapters = _adapters(model, manifest.of_type(media.ADAPTER), stores)
                return store.blob_path(layers[0].digest), _named_draft(model, stores) or drafts, adapters
            raise dry_run.NotMeasured("its %d model files cannot be given to the engine one by one" % len(layers))
    raise dry_run.NotMeasured("it is in none of the stores %s" % ", ".join(stores))


def _adapters(model: dict[str, Any], inherited: Sequence[media.Layer], stores: Sequence[str]) -> list[str]:
    """Return the paths of the adapters of a model, in the order of the engine.

    Args:
        model: of a plan, which names them where their digests are known.
        inherited: adapters in the manifest of its base.
        stores: models directories.

    Raises:
        NotMeasured: no store has one of them.
    """
    planned = [(one["digest"], one["size_bytes"]) for one in model.get("adapters") or ()]
    if not all(digest for digest, _size in planned) or "adapters" not in model:
        planned = [(layer.digest, layer.size_bytes) for layer in inherited]
    return [_blob(digest, size, stores) for digest, size in planned]


def _blob(digest: str, size: int, stores: Sequence[str]) -> str:
    """Return the path of an adapter in the first store that has it. Raises NotMeasured."""
    for store in map(Store, stores):
        with contextlib.suppress(StoreError):
            with store.opened() as opened:
                if opened is not None and opened.has_blob(digest, size):
                    return store.blob_path(digest)
    raise dry_run.NotMeasured("its adapter %s is in none of the stores %s" % (digest[:19], ", ".join(stores)))


def _named_draft(model: dict[str, Any], stores: Sequence[str]) -> list[str]:
    """Return the path of the file of the draft model that the user names, in a list; [] where none is named.

    Raises:
        NotMeasured: no store has it.
    """
    name = draft_name(model)
    if name is None:
        return []
    for store in map(Store, stores):
        with contextlib.suppress(StoreError, InvalidName):
            manifest = store.complete(parse(name), pulled=True)
            if manifest is not None:
                return [store.blob_path(layer.digest) for layer in manifest.of_type(media.MODEL)[:1]]
    raise dry_run.NotMeasured("its draft model %s is in none of the stores %s" % (name, ", ".join(stores)))
