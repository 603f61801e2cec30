# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Releases before 0.30 place by their own estimate: the plan can only hold what that estimate agrees to."""

from __future__ import annotations


def confirmed(fitting, wanted, placed):
    """A placement as the release itself would make it on these GPUs, with the settings that the plan writes.

    Args:
        fitting: the Fitting.
        wanted: a checked model of request.
        placed: what Fitting.place worked out from the split by free memory.

    Returns:
        the placement with the layers of the release's own decision. Where that leaves layers on the CPU or never
        ends, `shortfall_bytes` is not 0 and `refusal` says why.
    """
    predicted = placed["predicted"]
    gpus = placed["gpus"]
    decision = _decide(fitting, wanted, gpus, predicted, options_of(wanted, predicted))
    refusal = _refusal(fitting.release, decision, predicted["total_layers"])
    if refusal:
        return dict(placed, refusal=refusal, shortfall_bytes=max(placed["shortfall_bytes"], 1))
    layers = _layers(decision, len(gpus))
    again = fitting.predict(wanted, gpus, [device["free_bytes"] for device in predicted["devices"]], predicted["context_length"], layers)
    missing = sum(max(0, device["total_bytes"] + again["headroom_bytes"] - device["free_bytes"]) for device in again["devices"])
    return dict(placed, predicted=again, shortfall_bytes=missing)


def partial_layers(fitting, wanted, gpus, predicted, num_gpu=None):
    """Layers per GPU where some may stay on the CPU: the release's own decision; none where it would not load the model.

    Args:
        predicted: what Fitting.predict says of these GPUs (their free memory and the context count).
        num_gpu: the user's number of layers, or None.
    """
    options = options_of(wanted, predicted)
    if num_gpu is not None:
        options["num_gpu"] = num_gpu
    decision = _decide(fitting, wanted, gpus, predicted, options)
    if decision.get("hangs") or decision["error"] or not decision["layers"]:
        return [0] * len(gpus)
    return _layers(decision, len(gpus))


def _decide(fitting, wanted, gpus, predicted, options):
    devices = [
        {
            "uuid": gpu["uuid"],
            "total_bytes": gpu["total_bytes"],
            "free_bytes": device["free_bytes"],
            "compute_capability": gpu["compute_capability"],
        }
        for gpu, device in zip(gpus, predicted["devices"])
    ]
    return fitting.release.decide(wanted["facts"], devices, options, environment_of(wanted, gpus))


def _layers(decision, count):
    layers = [0] * count
    for place, number in zip(decision["gpus"], decision["layers"]):
        layers[place] = number
    return layers


def options_of(wanted, predicted):
    """The parameters that the plan gives the model, as far as they matter to the placement."""
    options = {"num_ctx": predicted["context_length"]}
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
        return "Ollama %s would by its own estimate put only %d of %d layers on these GPUs, and no setting changes that" % (release.version, layers, total)
    return None
