# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan of a host: from checked input and the policy's choices to the dictionary that everything else copies from."""

from __future__ import annotations

from ..common.sizes import gib, on_cpu
from ..memory import compute
from ..releases import versions
from . import naming
from .ask import applied, inventory, request
from .ask import environment as service
from .ask import gpus as gpu_room
from .ask.parameters import whole_number
from .errors import PlacementError
from .search import policy
from .search.fitting import Fitting, shortfall
from .tell import alternatives, capacity, remedies, untouched
from .tell import instances as instance_room

PLAN_VERSION = 1
_SPECIAL_LETTERS = "%$\"'\\:"
HIGHEST_PORT = 65535
GIB = 1024**3
GPU_KEYS = ("uuid", "index", "number", "pci_bus_id", "name", "total_bytes", "available_bytes", "foreign_bytes")


def make_plan(
    gpu_inventory,
    models,
    ollama_version,
    selectors=None,
    applied_plan=None,
    models_dir="/usr/share/ollama/.ollama/models",
    environment=None,
    overhead_bytes=None,
    headroom_bytes=GIB,
    listen_address="127.0.0.1",
    base_port=11434,
    own_units=(),
):
    """Plan a host: which model on which GPUs, in which instances, with which settings.

    The arguments are the options of the module placement_info; the same arguments always give the same plan.

    Returns:
        dict as design.md describes it ("Contracts", placement_info). `feasible` is false, and `instances` empty, where
        a model has no place; `models[]` then says what is missing and what would help.

    Raises:
        PlacementError: wrong input; one sentence with the value and the remedy.
    """
    release = _release(ollama_version)
    variables, warnings = service.check_environment(environment, release)
    wanted, notes = request.wanted_models(models, variables, headroom_bytes)
    warnings.extend(notes)
    listen_address = naming.check_address(listen_address)
    base_port = whole_number(base_port, "base_port", 1)
    _check_port(base_port)
    models_dir = _check_directory(models_dir)
    if overhead_bytes is not None:
        overhead_bytes = whole_number(overhead_bytes, "overhead_bytes", 0)
    inventory.check_inventory(gpu_inventory)
    in_force, note = applied.sound(applied_plan, PLAN_VERSION)
    warnings.extend([note] if note else [])
    plan = {
        "plan_version": PLAN_VERSION,
        "ollama_version": release.version,
        "engine": release.engine,
        "feasible": False,
        "models_dir": models_dir,
        "base_port": base_port,
        "models": [],
        "instances": [],
        "warnings": warnings,
        "gpus": [],
    }
    gpus, left_out = gpu_room.usable_gpus(gpu_inventory, selectors, in_force, own_units)
    gpus, left_out = _accepted(release, gpus, left_out, gpu_inventory.get("driver_version"))
    plan["gpus"] = [{key: gpu[key] for key in GPU_KEYS} for gpu in gpus]
    warnings.extend("GPU %s is left out: %s." % (gpu["uuid"], gpu["reason"]) for gpu in left_out if gpu["selected"])
    warnings.extend(
        "GPU %s (%s) is degraded: %s." % (gpu["index"], gpu["uuid"], gpu["degraded"]) for gpu in gpus if gpu["degraded"]
    )
    warnings.extend(_foreign(gpus))
    wanted = [_serially(one, release, warnings) for one in wanted]
    fitting = Fitting(release, overhead_bytes, variables)
    topology = gpu_inventory.get("topology") or []
    choices, host = policy.choose(wanted, gpus, fitting, topology, applied.Applied(in_force))
    plan["feasible"] = all(choice["placements"] for choice in choices)
    built = instance_room.build(choices, host, release, variables, models_dir, listen_address, base_port)
    if built:
        _check_port(max(instance["port"] for instance in built), base_port)
    for choice in choices:
        case = remedies.Case(choices, choice, gpus, fitting, topology, left_out)
        plan["models"].append(_explain(case, host, gpu_inventory, built))
    if plan["feasible"]:
        plan["instances"] = built
    for choice, report in zip(choices, plan["models"]):
        warnings.extend(_notes(choice, report))
    warnings.extend(release.notes())
    warnings.extend(
        "The GPU at %s is there, but the driver does not list it: the plan does without it." % address
        for address in gpu_inventory.get("unlisted") or []
    )
    return plan


def _release(version):
    """The release that is planned for."""
    try:
        return versions.release_of(version)
    except ValueError as error:
        raise PlacementError(str(error))


def _accepted(release, gpus, left_out, driver_version):
    """(gpus, left_out) after the GPUs that this Ollama version would leave out on its own."""
    accepted = []
    left_out = list(left_out)
    for gpu in gpus:
        reason = release.refused_gpu(gpu["compute_capability"], driver_version)
        if reason:
            repairable = gpu if "driver" in reason else None
            left_out.append({"uuid": gpu["uuid"], "reason": reason, "gpu": repairable, "selected": True})
        else:
            accepted.append(gpu)
    return accepted, left_out


def _check_directory(models_dir):
    """The directory without a slash at its end: absolute, and nothing in it that a systemd unit would read otherwise."""
    text = str(models_dir)
    if not text.startswith("/") or ".." in text.split("/"):
        raise PlacementError(
            "models_dir %r is not an absolute path; give one such as /usr/share/ollama/.ollama/models." % (models_dir,)
        )
    wrong = sorted(
        {letter for letter in text if letter in _SPECIAL_LETTERS or letter.isspace() or not letter.isprintable()}
    )
    if wrong:
        raise PlacementError(
            "models_dir %r holds %s, which a systemd unit reads otherwise; give a path without."
            % (models_dir, " and ".join(map(repr, wrong)))
        )
    return text.rstrip("/") or "/"


def _check_port(port, base_port=None):
    if port > HIGHEST_PORT:
        raise PlacementError(
            "Port %d is above %d, and Ollama would silently take 11434 instead; give a lower base_port%s."
            % (port, HIGHEST_PORT, "" if base_port is None else " than %d" % base_port)
        )


def _serially(wanted, release, warnings):
    """A model that this release serves one request at a time gets one slot, whatever was asked for."""
    if not release.one_request_at_a_time(wanted["facts"]):
        return wanted
    if wanted["parallel"] > 1:
        warnings.append(
            "%s is served one request at a time by Ollama %s, so parallel %d has no effect."
            % (wanted["name"], release.version, wanted["parallel"])
        )
    return dict(wanted, parallel=1, serial=True)


def _explain(case, host, gpu_inventory, built):
    """The report of a model: what was chosen and why, what was not, what would help, what Ollama would do untouched."""
    choice, wanted = case.choice, case.wanted
    parameters, variables = _settings_of(wanted, built)
    behaviour = untouched.default_behaviour(
        case.fitting.release, wanted["facts"], case.gpus, choice["placements"], parameters, variables
    )
    without = host.copy()
    for placed in choice["placements"]:
        without.give_back(placed)
    report = {
        "name": wanted["name"],
        "strategy": choice["strategy"],
        "reason": choice["reason"],
        "shortfall_bytes": None,
        "remedies": [],
        "alternatives": alternatives.alternatives(choice, without, case.fitting),
        "capacity": capacity.capacity(choice, host, case.fitting),
        "default_behaviour": behaviour,
    }
    if choice["placements"]:
        if untouched.differs(behaviour, choice["placements"]):
            report["reason"] += (
                "; left alone, this Ollama version would place it otherwise (%s), so the plan sets %s"
                % (
                    behaviour["outcome"],
                    "CUDA_VISIBLE_DEVICES and OLLAMA_SCHED_SPREAD"
                    if len(choice["placements"][0]["gpus"]) > 1
                    else "CUDA_VISIBLE_DEVICES",
                )
            )
        report["reason"] += "."
        return report
    report["remedies"] = remedies.remedies(case)
    report["shortfall_bytes"] = choice["shortfall_bytes"]
    joinable = len(case.host().joinable())
    if not case.gpus:
        why = gpu_inventory.get("reason") or _left_out(case.left_out) or "the host has no GPU"
        if gpu_inventory.get("state") not in (None, "ok") and gpu_inventory.get("remedy"):
            report["remedies"].insert(0, gpu_inventory["remedy"])
        report["reason"] = "No usable GPU: %s." % str(why).rstrip(".")
    elif wanted["strategy"] == "split" and joinable < 2:
        report["shortfall_bytes"] = None
        report["reason"] = (
            "Strategy split needs two GPUs that can work on one model together, and the host has %d%s."
            % (joinable, "; a process can use one MIG device only" if any(gpu["is_slice"] for gpu in case.gpus) else "")
        )
    elif choice["attempt"] is None:
        report["reason"] = "Every GPU is in exclusive compute mode and serves another model already."
    elif choice["attempt"].get("refusal"):
        report["reason"] = choice["attempt"]["refusal"] + "."
    else:
        kept = gib(choice["attempt"]["predicted"]["headroom_bytes"])
        report["reason"] = "It does not fit: %s (%d bytes) missing with the headroom of %s kept on every GPU." % (
            gib(choice["shortfall_bytes"]),
            choice["shortfall_bytes"],
            kept,
        )
    return report


def _left_out(left_out):
    """Why there is no GPU, where every one of them is left out; a selector is said only where nothing else is."""
    reasons = [gpu for gpu in left_out if gpu["selected"]] or left_out
    return ", ".join("GPU %s is left out: %s" % (gpu["uuid"], gpu["reason"]) for gpu in reasons)


def _settings_of(wanted, built):
    """(parameters, environment) of a model in the instances that were built."""
    for instance in built:
        for model in instance["models"]:
            if model["create_as"] == wanted["served"]:
                return model["parameters"], instance["environment"]
    return {}, {}


def _foreign(gpus):
    return [
        "Other processes hold %s of GPU %s (%s); the plan leaves it to them."
        % (gib(gpu["foreign_bytes"]), gpu["index"], gpu["uuid"])
        for gpu in gpus
        if gpu["foreign_bytes"]
    ]


def _notes(choice, report):
    wanted = choice["wanted"]
    notes = []
    if choice["placements"] and compute.is_estimated(wanted["facts"]):
        notes.append(
            "The compute buffers of %s are a careful estimate: its architecture (%s) has not been compared with the engine."
            % (wanted["name"], wanted["facts"].architecture)
        )
    replicas = wanted["replicas"]
    if (
        replicas
        and choice["placements"]
        and choice["strategy"] in ("single", "replicate")
        and len(choice["placements"]) < replicas
    ):
        note = "%s gets %d of the %d replicas asked for: no further GPU has room for one" % (
            wanted["name"],
            len(choice["placements"]),
            replicas,
        )
        most = report["capacity"]["most_parallel"] if report["capacity"] else wanted["parallel"]
        if most > wanted["parallel"]:
            note += "; parallel: up to %d would fit instead, at %s a slot" % (
                most,
                gib(report["capacity"]["slot_bytes"]),
            )
        notes.append(note + ".")
    if wanted["strategy"] == "spread" and choice["placements"] and len(choice["placements"][0]["gpus"]) == 1:
        notes.append("%s was to be spread over all GPUs, but there is only one." % wanted["name"])
    if choice["placements"] and choice["placements"][0]["outcome"] in ("partial", "cpu"):
        notes.append("%s runs %s, as allowed." % (wanted["name"], on_cpu(choice["placements"][0]["predicted"])))
    for placed in choice["placements"]:
        predicted = placed["predicted"]
        if not placed["shortfall_bytes"] and shortfall(predicted):
            notes.append(
                "%s stays where it runs, although other processes took %s of the headroom of %s."
                % (wanted["name"], gib(shortfall(predicted)), gib(predicted["headroom_bytes"]))
            )
        if placed["batch"] and placed.get("lowered"):
            notes.append(
                "%s fits only with a batch of %d tokens, which num_batch sets; prompts are read more slowly."
                % (wanted["name"], placed["batch"])
            )
    if choice["placements"] and choice["placements"][0]["tensor_split"]:
        notes.append(
            "%s does not rely on llama.cpp's split by free memory: LLAMA_ARG_TENSOR_SPLIT sets the layers per GPU."
            % wanted["name"]
        )
    return notes
