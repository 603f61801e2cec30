# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Releases before 0.30 place by their own estimate: the plan can only hold what that estimate agrees to."""

from __future__ import annotations

from ...releases.shapes import LoadRequest, PlannedLoad

NO_LAYER = "It fits, but one of these GPUs would get no layer"
MOST_RESERVES = 16  # reserves that are tried for a model that is partly on the CPU


def confirmed(fitting, wanted, placed, allowance=0):
    """A placement as the release itself would make it on these GPUs, with the settings that the plan writes.

    Args:
        fitting: the Fitting.
        wanted: a checked model of request.
        placed: what Fitting.place worked out from the split by free memory.
        allowance: bytes of the headroom that may be missing.

    Returns:
        the placement with the layers of the release's own decision. Where that leaves layers on the CPU or never
        ends, `shortfall_bytes` is not 0 and `refusal` says why.
    """
    predicted = placed["predicted"]
    gpus = placed["gpus"]
    free = [device["room_bytes"] for device in predicted["devices"]]
    decision = _decide(
        fitting.release, wanted, gpus, free, options_of(wanted, predicted["context_length"]), fitting.variables
    )
    refusal = _refusal(fitting.release, decision, predicted["total_layers"])
    if refusal:
        return dict(placed, refusal=refusal, shortfall_bytes=max(placed["shortfall_bytes"], 1))
    layers = _layers(decision, len(gpus))
    if not all(layers):
        return dict(placed, refusal=NO_LAYER, shortfall_bytes=max(placed["shortfall_bytes"], 1))
    again = fitting.predict(wanted, gpus, free, predicted["context_length"], layers)
    missing = sum(
        max(0, device["total_bytes"] + again["headroom_bytes"] - allowance - device["room_bytes"])
        for device in again["devices"]
    )
    return dict(placed, predicted=again, shortfall_bytes=missing)


def partial_layers(fitting, wanted, gpus, predicted, num_gpu=None):
    """Layers per GPU where some may stay on the CPU: the release's own decision; none where it would not load the model.

    The release knows no headroom and counts less than the engine takes: OLLAMA_GPU_OVERHEAD makes up for both.

    Args:
        predicted: what Fitting.predict says of these GPUs (their free memory and the context count).
        num_gpu: the user's number of layers, or None.

    Returns:
        (layers per GPU, bytes for OLLAMA_GPU_OVERHEAD).
    """
    context = predicted["context_length"]
    options = options_of(wanted, context)
    if num_gpu is not None:
        options["num_gpu"] = num_gpu
    free = [device["room_bytes"] for device in predicted["devices"]]
    reserve = max(wanted["headroom_bytes"], int(fitting.variables.get("OLLAMA_GPU_OVERHEAD") or 0))
    for dummy in range(MOST_RESERVES):
        variables = dict(fitting.variables, OLLAMA_GPU_OVERHEAD=str(reserve))
        decision = _decide(fitting.release, wanted, gpus, free, options, variables)
        if decision.get("hangs") or decision["error"] or not sum(decision["layers"] or []):
            break
        layers = _layers(decision, len(gpus))
        found = fitting.predict(wanted, gpus, free, context, layers, sum(layers))
        missing = max(
            device["total_bytes"] + wanted["headroom_bytes"] - device["room_bytes"] for device in found["devices"]
        )
        if missing <= 0:
            return layers, reserve
        reserve += missing
    return [0] * len(gpus), 0


def planned_load(wanted, placed, variables):
    """The load of a model that is placed, as `Release.evicts` takes it.

    Args:
        wanted: a checked model of request.
        placed: its placement.
        variables: the user's service variables.
    """
    gpus, predicted = placed["gpus"], placed["predicted"]
    options = options_of(dict(wanted, ubatch=wanted["ubatch"] or placed["batch"]), predicted["context_length"])
    return PlannedLoad(
        LoadRequest(
            wanted["facts"],
            tuple(_devices(gpus, [gpu["available_bytes"] for gpu in gpus])),
            options,
            dict(variables, **environment_of(wanted, gpus)),
        ),
        device_bytes=tuple(device["total_bytes"] for device in predicted["devices"]),
        layers=tuple(device["layers"] for device in predicted["devices"]),
        total_layers=predicted["total_layers"],
    )


def _decide(release, wanted, gpus, free, options, variables):
    return release.decide(
        wanted["facts"], _devices(gpus, free), options, dict(variables, **environment_of(wanted, gpus))
    )


def _devices(gpus, free):
    """GPUs in the scheduler's terms, with the free memory given."""
    return [
        {
            "uuid": gpu["uuid"],
            "total_bytes": gpu["total_bytes"],
            "free_bytes": size,
            "compute_capability": gpu["compute_capability"],
        }
        for gpu, size in zip(gpus, free)
    ]


def _layers(decision, count):
    layers = [0] * count
    for place, number in zip(decision["gpus"], decision["layers"]):
        layers[place] = number
    return layers


def options_of(wanted, context_length):
    """The parameters that the plan gives the model, as far as they matter to the placement."""
    options = {"num_ctx": context_length}
    if wanted["ubatch"]:
        options["num_batch"] = wanted["ubatch"]
    return options


def environment_of(wanted, gpus):
    """The service variables that the plan sets, as far as they matter to the placement (the GPUs are given apart)."""
    variables = {"OLLAMA_NUM_PARALLEL": str(wanted["parallel"])}
    if wanted["kv_cache_type"]:
        variables["OLLAMA_KV_CACHE_TYPE"] = wanted["kv_cache_type"]
    if wanted["flash_attention"] is not None:
        variables["OLLAMA_FLASH_ATTENTION"] = "1" if wanted["flash_attention"] else "0"
    if len(gpus) > 1:
        variables["OLLAMA_SCHED_SPREAD"] = "1"
    return variables


def _refusal(release, decision, total):
    if decision.get("hangs"):
        return "Ollama %s would search for a layout for ever on these GPUs" % release.version
    if decision["error"]:
        return "Ollama %s would refuse it: %s" % (release.version, decision["error"])
    layers = sum(decision["layers"] or [])
    if decision["outcome"] not in ("single", "split") or layers < total:
        return (
            "Ollama %s would by its own estimate put only %d of %d layers on these GPUs, and no setting of a plan changes that"
            % (release.version, layers, total)
        )
    return None
