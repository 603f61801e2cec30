# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan in lines of text, for people."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import served_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import mib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.lines import for_people


@for_people("plan of placement_info")
def plan_lines(plan):
    """Lines of text for `plan`."""
    left_out = plan.get("left_out") or []
    names = {gpu["uuid"]: "GPU %s" % gpu.get("number", gpu.get("index")) for gpu in (plan.get("gpus") or []) + left_out}
    lines = ["Plan for Ollama %s: %s" % (plan["ollama_version"], "feasible" if plan["feasible"] else "NOT FEASIBLE")]
    for gpu in plan.get("gpus") or []:
        lines.append(
            "%s %s %s %s: %s in all, %s for the plan, %s held by others"
            % (
                names[gpu["uuid"]],
                gpu["pci_bus_id"],
                gpu["uuid"],
                gpu["name"],
                mib(gpu["total_bytes"]),
                mib(gpu["available_bytes"]),
                mib(gpu["foreign_bytes"]),
            )
        )
    # The warnings tell of GPUs with a fault.
    lines += [
        "%s %s %s %s is left alone: %s"
        % (names[gpu["uuid"]], gpu["pci_bus_id"], gpu["uuid"], gpu["name"], gpu["reason"])
        for gpu in left_out
        if gpu["cause"] != "fault"
    ]
    for model in plan["models"]:
        lines.append("Model %s: %s. %s" % (model["name"], model["strategy"], model.get("reason") or ""))
        if model.get("shortfall_bytes"):
            lines.append(
                "  short of %d bytes (%s); remedies: %s"
                % (
                    model["shortfall_bytes"],
                    mib(model["shortfall_bytes"]),
                    "; ".join(str(remedy) for remedy in model.get("remedies") or []),
                )
            )
        lines += _default_lines(plan, model.get("default_behaviour"), names)
    for instance in plan["instances"]:
        lines.append(
            "Instance %s at %s on %s"
            % (
                instance["name"],
                instance["url"],
                ", ".join(names.get(uuid, uuid) for uuid in instance["gpu_uuids"]) or "the CPU",
            )
        )
        for model in instance["models"]:
            lines += _model_lines(model, names)
    warnings = plan.get("warnings") or []
    lines += ["Release: %s" % sentence for sentence in plan.get("release_changes") or []]
    lines += ["Note: %s" % note for note in plan.get("without_effect") or [] if note not in warnings]
    return lines + ["Warning: %s" % warning for warning in warnings]


def _default_lines(plan, default, names):
    """What this version would do without a plan, and what each setting does on it."""
    if not default:
        return []
    gpus = ", ".join(names.get(uuid, uuid) for uuid in default.get("gpu_uuids") or []) or "the CPU"
    lines = [
        "  Ollama %s without a plan: %s on %s, layers %s, context %s"
        % (plan["ollama_version"], default.get("outcome"), gpus, default.get("layers"), default.get("context_length"))
    ]
    if default.get("error"):
        lines = ["  Ollama %s without a plan would not load it: %s" % (plan["ollama_version"], default["error"])]
    return lines + ["  %s: %s" % (_setting(setting), setting["effect"]) for setting in default.get("settings") or []]


def _model_lines(model, names):
    predicted = model["predicted"]
    lines = [
        "  %s: %s of %s layers on GPUs, context %s, ubatch %s, KV cache %s%s; bytes %s"
        % (
            served_name(model) + (" (also %s)" % ", ".join(model["aliases"]) if model.get("aliases") else ""),
            predicted.get("gpu_layers"),
            predicted.get("total_layers"),
            model.get("context_length"),
            predicted.get("ubatch"),
            model.get("kv_cache_type") or "f16",
            ", %s in the host's memory" % mib(predicted["host_bytes"]) if predicted.get("host_bytes") else "",
            "measured by the engine's dry run" if predicted.get("basis") == "measured" else "predicted",
        )
    ]
    for device in predicted["devices"]:
        lines.append(
            "    %s: %s layers, weights %s + KV cache %s + compute %s + projector %s + context overhead %s = %s of %s"
            % (
                names.get(device["uuid"], device["uuid"]),
                device.get("layers"),
                mib(device["weight_bytes"]),
                mib(device["kv_bytes"]),
                mib(device["compute_bytes"]) + _more(device),
                mib(device["projector_bytes"]),
                mib(device["overhead_bytes"]),
                mib(device["total_bytes"]),
                mib(device["room_bytes"]),
            )
        )
    return lines


def _more(device):
    parts = (
        ("scratch for the CPU's weights", "offload_scratch_bytes"),
        ("adapters", "adapter_bytes"),
        ("draft", "draft_bytes"),
    )
    return "".join(" + %s %s" % (words, mib(device[key])) for words, key in parts if device.get(key))


def _setting(setting):
    return setting["name"] + (" (not set)" if setting["value"] is None else "=%s" % setting["value"])
