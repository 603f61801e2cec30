# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan with the installed engine's own figures where it can be asked: finds the models' files, asks for each model, writes the answers down."""

from __future__ import annotations

from ..common.names import InvalidName, parse
from ..evidence import memory
from ..ollama import manifest as media
from ..ollama.store import Store, StoreError
from ..placement.ask import gpus
from ..releases import engine_start, versions
from . import dry_run, figures


def measure_plan(plan, gpu_inventory, engine, stores=(), timeout=60.0, applied_plan=None):
    """Return the plan with `predicted` measured for every model that can be.

    Args:
        plan: of placement_info; not changed. gpu_inventory: the facts it was made with (free memory as it is now).
        engine: path of llama-server. stores: further models directories.
        timeout: seconds for each model.
        applied_plan: the plan in force. What it holds as measured for the same model, settings and release stays where asking now could disturb what
            runs, so that a loaded model does not turn its own plan back into a prediction.

    Models that are alike but for their GPUs (replicas) are asked for once. Where a model is not measured, `warnings` says why; where the engine
    expects more than the GPUs have, the plan is no longer feasible.
    """
    plan = dict(
        plan,
        instances=[
            dict(instance, models=[dict(model) for model in instance["models"]]) for instance in plan["instances"]
        ],
        warnings=list(plan["warnings"]),
    )
    answers = {}
    for instance in plan["instances"]:
        for model in instance["models"]:
            try:
                table = _ask_or_keep(
                    plan, instance, model, gpu_inventory, engine, stores, timeout, answers, applied_plan
                )
                predicted, notes = figures.with_figures(model["predicted"], table)
            except (dry_run.NotMeasured, ValueError) as error:
                plan["warnings"].append("%s on %s is not measured: %s." % (model["name"], instance["name"], error))
                continue
            model["predicted"] = predicted
            plan["warnings"].extend(
                "The engine itself expects %s to take %s." % (model["name"], note) for note in notes
            )
    missing = figures.overfull(plan)
    return figures.refused(plan, missing) if missing else plan


def _ask_or_keep(plan, instance, model, gpu_inventory, engine, stores, timeout, answers, applied_plan):
    try:
        return _ask(plan, instance, model, gpu_inventory, engine, stores, timeout, answers)
    except dry_run.Busy:
        table = figures.kept(applied_plan, plan, instance, model)
        if table is None:
            raise
        return table


def _ask(plan, instance, model, gpu_inventory, engine, stores, timeout, answers):
    why = figures.can_be_measured(plan, model)
    if why:
        raise dry_run.NotMeasured(why)
    path = _model_file(model, [instance["store"]] + list(stores) + [plan["models_dir"]])
    devices = memory.devices_by_uuid(gpu_inventory.get("gpus") or [])
    sizes = [_free(devices, uuid) for uuid in instance["gpu_uuids"]]
    for uuid, free in zip(instance["gpu_uuids"], sizes):
        if free < dry_run.LEAST_FREE_BYTES:
            raise dry_run.Busy(
                "GPU %s has only %s free, and asking takes a CUDA context there" % (uuid, memory.text(free))
            )
        if "exclusive" in str((devices.get(uuid) or {}).get("compute_mode") or "").lower():
            raise dry_run.Busy(
                "GPU %s is in exclusive compute mode, and asking would be in the way of the process that it is for"
                % uuid
            )
    settings = {
        name: value for name, value in instance["environment"].items() if name.startswith(("LLAMA_ARG_", "GGML_"))
    }
    capabilities = [{"compute_capability": gpus.capability(devices.get(uuid) or {})} for uuid in instance["gpu_uuids"]]
    flash = engine_start.flash_attention(
        capabilities, instance["environment"], versions.parse_version(plan["ollama_version"])
    )
    key = repr((dry_run.arguments(engine, path, instance, model, flash), sorted(settings.items())))
    if key not in answers:
        answers[key] = dry_run.measure(engine, path, instance, model, flash, timeout)
    return answers[key]


def _free(devices, uuid):
    return ((devices.get(uuid) or {}).get("memory") or {}).get("free_bytes") or 0


def _model_file(model, stores):
    """Path of the model's GGUF file in the first of the stores that has it. Raises NotMeasured."""
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
                return store.blob_path(layers[0].digest)
            raise dry_run.NotMeasured("its %d model files cannot be given to the engine one by one" % len(layers))
    raise dry_run.NotMeasured("it is in none of the stores %s" % ", ".join(stores))
