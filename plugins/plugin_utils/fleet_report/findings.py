# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is wrong on a host, with remedies. Pure."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.answers import Answers
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import FindingReport, GpuReport
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import entries, mappings, name, text

_REACH = "Check its name and address in the inventory, the network, its SSH server and the user: ansible HOST -m ping."


def findings(answers: Answers, gpus: list[GpuReport]) -> list[FindingReport]:
    """Return the findings of a host: the host itself, its GPUs, its plan, its evidence."""
    found = []
    if answers.unreachable:
        found.append(FindingReport("unreachable", "", answers.unreachable, _REACH))
    found += _of_inventory(answers) + _of_gpus(gpus) + _of_plan(answers)
    for entry in mappings(answers.evidence.get("diagnosis")):
        where = " on ".join(name(entry[key]) for key in ("model", "instance") if entry.get(key))
        remedy = text(entry.get("remedy"))
        found.append(FindingReport(name(entry.get("finding")), where, text(entry.get("evidence")), remedy))
    return found


def _of_inventory(answers: Answers) -> list[FindingReport]:
    state = answers.inventory.get("state")
    if state in (None, "ok"):
        return []
    remedy = text(answers.inventory.get("remedy"))
    return [FindingReport(name(state), "", text(answers.inventory.get("reason")), remedy)]


def _of_gpus(gpus: list[GpuReport]) -> list[FindingReport]:
    remedy = "Run nvidia-smi on the host. Exclude the GPU with ollama_multigpu_cordon until it is repaired."
    return [
        FindingReport("gpu_" + gpu.health, "%s %s" % (gpu.label, gpu.uuid), "; ".join(gpu.notes), remedy)
        for gpu in gpus
        if gpu.health != "ok"
    ]


def _of_plan(answers: Answers) -> list[FindingReport]:
    """Models without a place, and what keeps a plan from being applied."""
    found = []
    for model in mappings(answers.plan.get("models")):
        if model.get("fits") is False:
            remedies = "; ".join(text(one).rstrip(".") for one in entries(model.get("remedies")))
            found.append(FindingReport("no_place", name(model.get("name")), text(model.get("reason")), remedies))
    for obstacle in entries(answers.difference.get("obstacles")):
        found.append(FindingReport("obstacle", "", text(obstacle), "Nothing is changed until it is resolved."))
    return found
