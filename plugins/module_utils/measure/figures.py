# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine's own figures in the place of predicted ones. Pure: the figures are given."""

from __future__ import annotations

from ..common.sizes import gib

MIB = 1024 * 1024
PREDICTED = "predicted"
MEASURED = "measured"
#: Weights are known from the header to the byte: a table with less than this share of them is of something else.
LEAST_WEIGHTS = 0.9


def can_be_measured(plan, model):
    """Why a model of a plan cannot be measured, or None: the engine must be llama-server and hold all layers on GPUs."""
    if plan["engine"] != "llama-server":
        return "the engine of Ollama %s prints no dry run; 0.30 and later do" % plan["ollama_version"]
    if not model["predicted"]["devices"] or not model["predicted"]["fully_on_gpu"]:
        return "it is not wholly on GPUs, and how the engine would divide it depends on the memory that is free when it loads"
    return None


def with_figures(predicted, table):
    """The plan's `predicted` of a model with the engine's bytes, `basis` measured.

    Args:
        predicted: of a plan's model.
        table: {"CUDA0": {"model", "context", "compute"}, ...} in bytes, in whole MiB (dry_run.measure).

    Returns:
        (predicted, notes). Projector and context of the process are not in the engine's table and stay as predicted. The
        notes say where the engine expects more than was predicted.

    Raises:
        ValueError: the table is of other devices; one sentence.
    """
    rows = [table[name] for name in sorted((name for name in table if name != "Host"), key=_place)]
    if len(rows) != len(predicted["devices"]):
        raise ValueError("the engine sees %d GPUs where the plan has %d" % (len(rows), len(predicted["devices"])))
    weights, wanted = (
        sum(figures)
        for figures in ([row["model"] for row in rows], [device["weight_bytes"] for device in predicted["devices"]])
    )
    if weights + len(rows) * MIB < LEAST_WEIGHTS * wanted:  # the engine drops what is less than a MiB
        raise ValueError(
            "the engine speaks of %s of weights where the model has %s, so it does not speak of this model"
            % (gib(weights), gib(wanted))
        )
    devices, notes = [], []
    for device, row in zip(predicted["devices"], rows):
        figures = {"weight_bytes": row["model"], "kv_bytes": row["context"], "compute_bytes": row["compute"]}
        total = sum(figures.values()) + device["projector_bytes"] + device["overhead_bytes"]
        more = total - device["total_bytes"]
        if more > 4 * MIB:  # each of the three figures is rounded to a MiB
            left = device["room_bytes"] - total
            notes.append(
                "%s more on GPU %s than predicted, which leaves %s free"
                % (gib(more), device["uuid"], gib(left) if left >= 0 else "nothing")
            )
        devices.append(dict(device, total_bytes=total, **figures))
    return dict(predicted, devices=devices, basis=MEASURED), notes


def kept(applied_plan, plan, instance, model):
    """The figures that the applied plan holds as measured for the same question, as a table for with_figures; None where it holds none.

    Args:
        applied_plan: what is written on the host; may be None, empty or anything else.
        plan, instance, model: the plan's; the same question is the same release, GPUs, environment, digest, slots, context and layers.
    """
    try:
        for other in applied_plan["instances"] if applied_plan["ollama_version"] == plan["ollama_version"] else []:
            for before in other["models"] if _of_instance(other) == _of_instance(instance) else []:
                if before["predicted"]["basis"] == MEASURED and _of_model(before) == _of_model(model):
                    return {
                        "CUDA%d" % place: {
                            "model": device["weight_bytes"] + 0,
                            "context": device["kv_bytes"] + 0,
                            "compute": device["compute_bytes"] + 0,
                        }
                        for place, device in enumerate(before["predicted"]["devices"])
                    }
    except (KeyError, TypeError):
        pass  # damaged, or of an earlier version of this collection
    return None


def _of_instance(instance):
    return instance["gpu_uuids"], instance["environment"]


def _of_model(model):
    predicted = model["predicted"]
    layers = [(device["uuid"], device["layers"]) for device in predicted["devices"]]
    return model["from"], model["digest"], model["context_length"], model["parallel"], predicted["ubatch"], layers


def overfull(plan):
    """{uuid: bytes missing} of the GPUs whose models take more together than the plan counts on there."""
    left = {gpu["uuid"]: gpu["available_bytes"] for gpu in plan["gpus"]}
    for instance in plan["instances"]:
        for model in instance["models"]:
            for device in model["predicted"]["devices"]:
                left[device["uuid"]] -= device["total_bytes"]
    return {uuid: -size for uuid, size in left.items() if size < 0}


def refused(plan, missing):
    """The plan as one that is not feasible. missing: see `overfull`."""
    reports = []
    for report in plan["models"]:
        own = {
            device["uuid"]
            for instance in plan["instances"]
            for model in instance["models"]
            if model["name"] == report["name"]
            for device in model["predicted"]["devices"]
        }
        short = sum(size for uuid, size in missing.items() if uuid in own)
        reports.append(
            dict(
                report,
                shortfall_bytes=short,
                reason="It does not fit: the engine itself expects %d bytes (%s) more than there are on %s."
                % (short, gib(short), ", ".join("GPU %s" % uuid for uuid in missing if uuid in own)),
                remedies=["context_length: ask for fewer tokens", "kv_cache_type: q8_0", "more GPUs"],
            )
            if short
            else report
        )
    return dict(plan, feasible=False, instances=[], models=reports)


def _place(name):
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits) if digits else 0
