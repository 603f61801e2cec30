# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""All findings of a host, the surest first, as data and as lines for people. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..common.sizes import counted
from ..gpu.names import gpu_names, unnamed, with_names
from . import benchmark
from .answers import answer_findings
from .driver import driver_findings
from .gpu_condition import gpu_findings
from .host_memory import memory_findings
from .installed import installation_findings
from .kinds import KINDS, SYMPTOMS
from .placed import placement_findings
from .proven import proof_findings
from .server_settings import settings_findings
from .shapes import CONFIDENCES, Answer, Finding, HostEvidence, Server
from .tenants import tenant_findings

_RULES = (
    driver_findings,
    installation_findings,
    settings_findings,
    placement_findings,
    proof_findings,
    tenant_findings,
    gpu_findings,
    memory_findings,
    answer_findings,
)


def findings(evidence: HostEvidence) -> list[Finding]:
    """Return what is wrong with a host, the surest first; [] for one on which nothing was found."""
    names = gpu_names(evidence.inventory, evidence.plan)
    named = [
        dataclasses.replace(one, evidence=with_names(one.evidence, names))
        for rules in _RULES
        for one in rules(benchmark.judged(evidence))
    ]
    found = list(dict.fromkeys(named))
    return sorted(found, key=lambda finding: CONFIDENCES.index(finding.confidence))


def as_data(evidence: HostEvidence, found: list[Finding]) -> dict[str, Any]:
    """Return what module diagnosis_info returns of a diagnosis."""
    return {
        "findings": [dict(dataclasses.asdict(one), symptoms=list(KINDS[one.finding].symptoms)) for one in found],
        "looked_at": looked_at(evidence),
    }


def looked_at(evidence: HostEvidence) -> list[str]:
    """Return sentences on what the host has, so that a reader sees what was looked at."""
    inventory = evidence.inventory
    names = gpu_names(inventory, evidence.plan, with_uuids=True)
    gpus = ", ".join(names.get(gpu.get("uuid") or "") or unnamed(gpu) for gpu in evidence.gpus)
    if inventory.get("state") == "ok":
        told = ["Driver %s; %s." % (inventory.get("driver_version") or "of an unknown version", gpus or "no GPU")]
    elif inventory.get("no_gpu_present"):
        told = ["This host has no NVIDIA GPU."]
    else:
        told = ["The GPUs cannot be read: %s." % (inventory.get("reason") or inventory.get("state") or "").rstrip(".")]
    if evidence.amd_gpus:
        told.append("This host has AMD GPUs (%s), which the diagnosis does not support." % ", ".join(evidence.amd_gpus))
    told += ["%s." % _server(server) for server in evidence.servers]
    told += [benchmark.SENTENCE] if benchmark.runs(evidence) else []
    if not evidence.servers:
        told.append("No Ollama server runs on this host, and no unit of one was found.")
    told += ["%s of %s: %s" % (one.model, one.server, _answered(one)) for one in evidence.answers]
    if evidence.kernel_lines is None:
        told.append("The kernel log cannot be read, so errors of GPUs (Xid) in it are not known.")
    return told


def _answered(answer: Answer) -> str:
    if answer.error:
        return "it gives no answer (%s)." % answer.error
    if answer.vector is not None:
        return "it gives a vector of %d numbers." % len(answer.vector)
    known = "with" if answer.tokens else "without"
    return "it answers %d characters, %s log-probabilities." % (len(answer.text), known)


def _server(server: Server) -> str:
    if not server.pid:
        return "%s does not run" % server.name
    names = ", ".join(entry.get("name") or "?" for entry in server.loaded or [])
    models = "loaded: %s" % (names or "nothing") if server.loaded is not None else "its API gives no answer"
    return "%s: Ollama %s at %s, %s" % (server.name, server.version or "?", server.url or "an unknown address", models)


def lines(evidence: HostEvidence, found: list[Finding]) -> list[str]:
    """Return sentences about findings, the symptoms that each can explain among them, and a last one on how many there
    are."""
    told = []
    for one in found:
        variable = " The role's variable is %s." % one.variable if one.variable else ""
        symptoms = "; ".join(KINDS[one.finding].symptoms)
        told.append(
            "%s (%s): %s. This can explain: %s. %s%s"
            % (one.finding, one.confidence, one.evidence, symptoms, one.remedy, variable)
        )
    if not found:
        return [_nothing(evidence)]
    counts = {name: sum(one.confidence == name for one in found) for name in CONFIDENCES}
    summary = ", ".join("%d %s" % (count, name) for name, count in counts.items() if count)
    return told + ["%s (%s)." % (counted(len(found), "finding"), summary)]


def _nothing(evidence: HostEvidence) -> str:
    """The line for a host without a finding: what was looked for, and whether it was compared with a plan."""
    if not evidence.inventory.get("no_gpu_present"):
        said = "No cause was found for any of: %s." % "; ".join(SYMPTOMS)
    elif evidence.amd_gpus:
        said = "No finding. The diagnosis supports only NVIDIA GPUs, and this host has none."
    else:
        said = "No finding. This host has no NVIDIA GPU, so its models run on the CPU."
    proof = benchmark.judged(evidence).proof
    compared = "It was compared with its plan." if proof else "It was not compared with a plan."
    return "%s %s" % (said, compared)
