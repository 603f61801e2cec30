# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Judge the evidence against the plan: verdict, checks, diagnosis. Pure.

What counts is NVML's memory by process and GPU. The engine's `offloaded 49/49 layers` and a `size_vram` that equals
`size` were both seen on hosts where everything ran on the CPU (ollama-behaviour.md 14.8): they can fail a model, never pass it.
"""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import journal, memory
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.case import Case

PASS, FAIL = "pass", "fail"

#: Memory of others that can explain memory that is missing; less is a desktop's coming and going.
_NOTICED = 256 * memory.MIB


def judge(plan, evidence):
    """Return {"verdict", "instances", "diagnosis"} for a plan and the evidence of collect.

    verdict: "pass" only if no check of any model failed. A check's `passed` is None where the host cannot tell (said, not failed).
    """
    devices = memory.devices_by_uuid(evidence["inventory"].get("gpus") or [])
    own_units = {instance["unit"] for instance in plan.get("instances") or []}
    instances, diagnosis = [], []
    failed = False
    for instance in plan.get("instances") or []:
        data = evidence["instances"].get(instance["name"]) or {}
        models = []
        for model in instance["models"]:
            case = Case(plan, instance, model, data, evidence["inventory"], devices, own_units)
            judge_model(case)
            failed = failed or any(check["passed"] is False for check in case.checks) or bool(case.diagnosis)
            models.append(case.as_result())
            diagnosis.extend(case.diagnosis)
        instances.append({"name": instance["name"], "unit": instance["unit"], "url": instance["url"], "models": models})
    return {"verdict": FAIL if failed else PASS, "instances": instances, "diagnosis": diagnosis}


def judge_model(case):
    """Run all checks on one model; each of them records itself in the case."""
    if not _gpus_are_there(case):
        return
    if not _is_loaded(case) or not _engine_lives(case):
        return
    _context_length(case)
    if not case.planned:
        _runs_on_cpu_as_planned(case)
        return
    _memory(case)
    _layers(case)
    _dry_run(case)
    _utilization(case)
    _headroom(case)


# -- is it there at all ----------------------------------------------------------------------------------------------------------


def _gpus_are_there(case):
    """Every GPU of the plan is listed by the driver and can be used."""
    if not case.planned:
        return True
    state = case.inventory.get("state")
    if state != "ok":
        return case.fail(
            "gpus_seen",
            case.planned_text,
            "none: %s" % (case.inventory.get("reason") or state),
            "gpu_not_seen",
            "the GPUs of the host cannot be read: %s" % (case.inventory.get("reason") or state),
            case.inventory.get("remedy") or "Run nvidia-smi on the host.",
        )
    missing = [uuid for uuid in case.planned if uuid not in case.devices]
    if missing:
        unlisted = case.inventory.get("unlisted") or []
        return case.fail(
            "gpus_seen",
            case.planned_text,
            "without %s" % ", ".join(missing),
            "gpu_not_seen",
            "the driver does not list %s%s"
            % (", ".join(missing), " (on the PCI bus without it: %s)" % ", ".join(unlisted) if unlisted else ""),
            "Look for Xid messages in the kernel log, reboot the host or reseat the GPU; if it was taken out for good, run the plan again.",
        )
    unusable = [uuid for uuid in case.planned if (case.devices[uuid].get("health") or {}).get("state") == "unusable"]
    if unusable:
        reasons = "; ".join("; ".join(case.devices[uuid]["health"].get("reasons") or []) for uuid in unusable)
        return case.fail(
            "gpus_seen",
            case.planned_text,
            "unusable: %s" % ", ".join(unusable),
            "gpu_not_seen",
            "%s cannot be used: %s" % (", ".join(unusable), reasons),
            "Repair or reset the GPU, or run the plan again without it.",
        )
    return case.passed("gpus_seen", case.planned_text, case.planned_text)


def _is_loaded(case):
    """The server answers and lists the model."""
    found, data = case.found, case.data
    if data.get("unit") and data["unit"].get("ActiveState") not in (None, "active"):
        state = data["unit"].get("ActiveState")
        return case.fail(
            "loaded",
            case.name,
            "%s is %s" % (case.unit, state),
            "not_loaded",
            "the service %s is %s%s"
            % (case.unit, state, ", and something else answers at %s" % case.url if data.get("reachable") else ""),
            "Look at journalctl -u %s, then start the service or run the role again." % case.unit,
        )
    if not data.get("reachable"):
        return case.fail(
            "loaded",
            case.name,
            data.get("error"),
            "not_loaded",
            data.get("error") or "the server at %s was not asked" % case.url,
            "Look at systemctl status %s, then start the service or run the role again." % case.unit,
        )
    if found.get("loaded"):
        return case.passed("loaded", case.name, case.name)
    if found.get("would_evict"):
        others = ", ".join(found["would_evict"])
        return case.fail(
            "loaded",
            case.name,
            others,
            "not_loaded",
            "%s holds %s, which the plan does not name, and loading may evict it" % (case.unit, others),
            "Unload %s (gpufleet.ollama.model with state unloaded), then check again." % others,
        )
    error = found.get("load_error")
    grown = case.foreign_growth()
    if error and grown:
        return case.fail(
            "loaded", case.name, error, *case.foreign_finding(grown, "the model cannot be loaded (%s)" % error)
        )
    if found.get("died") or (error and "terminated" in error):
        return _died(case, found.get("died") or error)
    if error:
        return case.fail(
            "loaded",
            case.name,
            error,
            "not_loaded",
            "loading %s failed: %s" % (case.name, error),
            "Pull or create the model with the role, and look at journalctl -u %s." % case.unit,
        )
    return case.fail(
        "loaded",
        case.name,
        "not loaded",
        "not_loaded",
        "%s is in the store and not loaded" % case.name if case.loading_not_tried else "%s is not loaded" % case.name,
        "Run the check with load: true and without check mode, or run the role again.",
    )


def _engine_lives(case):
    """The engine that was seen lives on, and answered."""
    if case.found.get("died"):
        return _died(case, case.found["died"])
    error = case.found.get("generation_error")
    if error and "terminated" in error:
        return _died(case, error)
    if error and "does not support" not in error:
        return case.fail(
            "generation",
            "an answer",
            error,
            "engine_died",
            "the engine of %s gave no answer: %s" % (case.name, error),
            "Look at journalctl -u %s around that time, then load the model again." % case.unit,
        )
    return case.passed(
        "engine_alive", "alive", "process %s" % case.engine["pid"] if case.engine else "no process of the unit is known"
    )


def _died(case, how):
    logged = (case.found.get("log") or {}).get("error")
    return case.fail(
        "engine_alive",
        "alive",
        how,
        "engine_died",
        "the engine of %s died: %s%s"
        % (case.name, how, " (its log: %s)" % logged if logged and logged not in how else ""),
        "Look at journalctl -u %s for the engine's last words; out of memory needs a shorter context, a quantized KV cache or more GPUs."
        % case.unit,
    )


def _context_length(case):
    wanted = case.model.get("context_length")
    observed = (case.found.get("ps") or {}).get("context_length")
    if not wanted or observed is None:
        return case.unknown("context_length", wanted, observed)
    if observed == wanted:
        return case.passed("context_length", wanted, observed)
    return case.fail(
        "context_length",
        wanted,
        observed,
        "far_from_predicted",
        "%s is loaded with %d tokens of context instead of %d" % (case.name, observed, wanted),
        "Load the model again (gpufleet.ollama.model with state loaded), or run the role: it is loaded in an older state.",
    )


# -- where is it -----------------------------------------------------------------------------------------------------------------


def _runs_on_cpu_as_planned(case):
    """A model that is planned for the CPU holds no more than a bare context of any GPU."""
    too_much = {uuid: size for uuid, size in case.observed.items() if size is None or size > memory.GIB}
    if not too_much:
        return case.passed(
            "cpu_only", "no memory of a GPU", case.observed_text() if case.observed else "no memory of a GPU"
        )
    return case.fail(
        "cpu_only",
        "no memory of a GPU",
        case.observed_text(),
        "far_from_predicted",
        "%s is planned for the CPU and holds %s" % (case.name, case.observed_text()),
        "Restart %s: its process does not have the plan's environment." % case.unit,
    )


def _memory(case):
    """NVML's memory by process on every planned GPU, and nothing of weight on another one. One finding at most: the one that explains it."""
    short, far = [], []
    for device in case.predicted["devices"]:
        uuid, predicted = device["uuid"], device.get("total_bytes") or 0
        if not predicted:
            continue
        observed = case.observed.get(uuid, 0)
        expected = "%s (within %s)" % (memory.text(predicted), memory.text(memory.tolerance(predicted)))
        if observed is None:
            case.unknown("memory " + uuid, expected, "the engine is there, NVML does not say with how much")
            continue
        off = memory.far(device, observed)
        carries = memory.carries(device, observed)
        if off or not carries:
            (short if not carries or observed < predicted else far).append((device, observed))
            case.record("memory " + uuid, False, expected, memory.text(observed))
        else:
            case.passed("memory " + uuid, expected, memory.text(observed))
    elsewhere = {
        uuid: size for uuid, size in case.observed.items() if uuid not in case.planned and (size or 0) > memory.GIB
    }
    if elsewhere:
        case.record("only_planned_gpus", False, case.planned_text, ", ".join(sorted(elsewhere)))
    if short:
        _explain_short(case, short, elsewhere)
    elif far or elsewhere:
        case.diagnose(
            "far_from_predicted",
            "%s holds %s, where %s is predicted" % (case.name, case.observed_text(), case.predicted_text()),
            "Compare the context length, KV cache type and parallel slots of the running server with the plan; "
            "restart %s if they differ." % case.unit,
        )


def _explain_short(case, short, elsewhere):
    """Say why GPUs hold less than planned; the order is that of how much each sentence explains."""
    total = sum(size or 0 for size in case.observed.values())
    missing = sum((device.get("total_bytes") or 0) - observed for device, observed in short)
    carrying = [uuid for uuid, size in case.observed.items() if size is None or _carries_anywhere(case, uuid, size)]
    grown = case.foreign_growth(_NOTICED)
    if grown and sum(growth for uuid, growth, process in grown) >= missing // 2:
        case.diagnose(
            *case.foreign_finding(
                grown, "%s holds %s, where %s is predicted" % (case.name, case.observed_text(), case.predicted_text())
            )
        )
    elif not total and not case.observed:
        case.diagnose(
            "cpu_only",
            "no process of %s is on any GPU: %s runs on the CPU%s" % (case.unit, case.name, case.claims()),
            'Look at journalctl -u %s for the line "inference compute"; check that the service user may open /dev/nvidia*, '
            "that CUDA_VISIBLE_DEVICES names these GPUs and that the driver is new enough, then restart the service."
            % case.unit,
        )
    elif not carrying:
        case.diagnose(
            "layers_on_cpu",
            "the GPUs hold bare contexts (%s) where %s is predicted: the layers of %s are on the CPU%s"
            % (case.observed_text(), case.predicted_text(), case.name, case.claims()),
            "Remove num_gpu from the model's parameters and from the service's environment (LLAMA_ARG_N_GPU_LAYERS), then load the model again.",
        )
    elif len(case.planned) > 1 and len(carrying) == 1:
        case.diagnose(
            "one_gpu_carries_all",
            "%s holds %s of %s, where it is planned over %d GPUs%s"
            % (carrying[0], memory.text(case.observed[carrying[0]]), case.name, len(case.planned), case.claims()),
            "Set OLLAMA_SCHED_SPREAD=1 in the environment of %s and restart it (num_gpu is a number of layers, not of GPUs, and spreads nothing); "
            "remove main_gpu from the parameters." % case.unit,
        )
    elif case.layers_missing() or case.host_excess():
        case.diagnose(*case.layers_finding())
    else:
        case.diagnose(
            "far_from_predicted",
            "%s holds %s, where %s is predicted" % (case.name, case.observed_text(), case.predicted_text()),
            "Check that %s runs with the plan's environment (CUDA_VISIBLE_DEVICES, context length, KV cache type), "
            "restart it and load the model again." % case.unit,
        )


def _carries_anywhere(case, uuid, size):
    """Whether a GPU, planned or not, holds more than a bare context."""
    for device in case.predicted["devices"]:
        if device["uuid"] == uuid:
            return memory.carries(device, size)
    return size > memory.GIB


def _layers(case):
    """The engine's offload line and buffers, and Ollama's totals: each of them can show layers on the CPU, none can rule it out."""
    log, ps = case.found.get("log"), case.found.get("ps") or {}
    planned, total = case.predicted.get("gpu_layers"), case.predicted.get("total_layers")
    if not log or log["layers"] is None:
        case.unknown("layers", "%s/%s" % (planned, total), case.data.get("journal") or "not in the journal")
    else:
        case.record(
            "layers",
            not case.layers_missing(),
            "%s/%s" % (planned, total),
            "%d/%d" % (log["layers"], log["layers_total"]),
        )
    if log and log["buffers"]:
        on_gpu = sum(size for device, size in log["buffers"].items() if journal.is_gpu(device))
        case.record(
            "gpu_buffers",
            bool(on_gpu),
            "buffers on a GPU",
            ", ".join("%s %s" % (device, memory.text(size)) for device, size in sorted(log["buffers"].items())),
        )
    size, vram = ps.get("size"), ps.get("size_vram")
    if vram is None:
        case.unknown("size_vram", "above 0", None)
    else:
        # Only for a model that is wholly on the GPUs: their ratio is not a share of layers.
        enough = vram > 0 and (not case.fully_on_gpu or vram >= size)
        case.record(
            "size_vram",
            enough,
            "all of size" if case.fully_on_gpu else "above 0",
            "%s of %s" % (memory.text(vram), memory.text(size)),
        )
    if case.diagnosis:
        return
    if log and log["buffers"] and not any(journal.is_gpu(device) for device in log["buffers"]) or vram == 0:
        case.diagnose(
            "cpu_only",
            "the engine of %s put nothing on a GPU (size_vram %s)%s" % (case.name, memory.text(vram), case.claims()),
            'Look at journalctl -u %s for the line "inference compute", and restart the service once the driver lists its GPUs.'
            % case.unit,
        )
    elif case.layers_missing():
        case.diagnose(*case.layers_finding())
    elif vram is not None and not enough:
        case.diagnose(
            "layers_on_cpu",
            "/api/ps says that %s of %s of %s are on GPUs" % (memory.text(vram), memory.text(size), case.name),
            "Free memory on the GPUs or shorten the context, then load the model again.",
        )


def _dry_run(case):
    """The prediction is not below what the engine itself expected, by more than the headroom that the plan keeps."""
    engine = case.engine_bytes()
    if not engine:
        return case.unknown("engine_dry_run", "printed by the engine", case.data.get("journal") or "not in the journal")
    headroom = case.predicted.get("headroom_bytes")
    headroom = memory.GIB if headroom is None else headroom
    for device in case.predicted["devices"]:
        size = engine.get(device["uuid"])
        if size is None:
            continue
        predicted = memory.model_share(device)
        good = size <= predicted + headroom
        case.record(
            "engine_dry_run " + device["uuid"],
            good,
            "at most %s" % memory.text(predicted + headroom),
            memory.text(size),
        )
        if not good and not case.diagnosis:
            case.diagnose(
                "far_from_predicted",
                "the engine expects %s on %s, the plan %s"
                % (memory.text(size), device["uuid"], memory.text(predicted)),
                "Raise headroom_bytes of the model to at least %d and run the role again; "
                "please report the model and its settings." % (size - predicted),
            )
    return None


def _utilization(case):
    """Every planned GPU computed at least once while the model generated."""
    peaks = case.found.get("utilization_peak")
    if peaks is None:
        return case.unknown("utilization", "above 0 %", case.found.get("generation_error") or "no generation was run")
    idle = []
    for uuid in case.planned:
        peak = peaks.get(uuid)
        if peak is None:
            case.unknown("utilization " + uuid, "above 0 %", "not supported by this GPU")
            continue
        case.record("utilization " + uuid, peak > 0, "above 0 %", "%d %%" % peak)
        if not peak:
            idle.append(uuid)
    if idle and not case.diagnosis:
        case.diagnose(
            "layers_on_cpu",
            "%s computed nothing while %s generated (%s): its layers ran on the CPU"
            % (", ".join(idle), case.name, "%s tokens/s" % case.found.get("tokens_per_second")),
            "Restart %s and load the model again; if it stays so, look at journalctl -u %s for errors of CUDA."
            % (case.unit, case.unit),
        )
    return None


def _headroom(case):
    """Nobody else has taken the memory that the plan keeps free on its GPUs."""
    grown = case.foreign_growth()
    headroom = case.predicted.get("headroom_bytes")
    headroom = memory.GIB if headroom is None else headroom
    tight = [entry for entry in grown if (case.devices[entry[0]]["memory"].get("free_bytes") or 0) < headroom]
    case.record(
        "foreign_memory",
        not tight,
        "no more than at planning",
        ", ".join("%s: %s more" % (uuid, memory.text(growth)) for uuid, growth, process in grown)
        or "no more than at planning",
    )
    if tight and not case.diagnosis:
        case.diagnose(*case.foreign_finding(tight, "less than the headroom of %s is free" % memory.text(headroom)))
