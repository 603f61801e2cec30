# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The instances of a host with their models: planned, and what evidence says of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import advertised_address
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import further_names, key_of, served_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import shown_environment
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.answers import Answers
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import InstanceReport, ModelReport
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import (
    entries,
    mapping,
    mappings,
    name,
    number,
    text,
    whole,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.evidence_table import or_unknown, verdict_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import gpu_labels
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.model_places import on_gpus


def instance_reports(answers: Answers) -> list[InstanceReport]:
    """Return the instances of the plan of a host."""
    labels = gpu_labels(dict(answers.plan))
    checked = {str(one.get("name")): one for one in mappings(answers.evidence.get("instances"))}
    chosen = {str(one.get("name")): one for one in mappings(answers.plan.get("models"))}
    found = []
    for instance in mappings(answers.plan.get("instances")):
        evidence = mapping(checked.get(str(instance.get("name"))))
        found.append(
            InstanceReport(
                name=name(instance.get("name")),
                url=_url(answers, instance),
                on=name(on_gpus([str(uuid) for uuid in entries(instance.get("gpu_uuids"))], labels)),
                models=[_model(model, chosen, evidence) for model in mappings(instance.get("models"))],
                settings=_settings(instance),
                problems=_problems(evidence),
            )
        )
    return found


def _url(answers: Answers, instance: Mapping[str, Any]) -> str:
    address = advertised_address(answers.plan, instance, answers.host.get("default_address"))
    return "" if address is None else name("http://" + addresses.host_and_port(address, instance["port"]))


def _settings(instance: Mapping[str, Any]) -> dict[str, str]:
    """The service variables of an instance and the parameters of its models; secret values are hidden already."""
    shown = shown_environment({str(key): str(value) for key, value in mapping(instance.get("environment")).items()})
    for model in mappings(instance.get("models")):
        for key, value in mapping(model.get("parameters")).items():
            shown.setdefault(str(key), str(value))
    return {name(key): name(value) for key, value in sorted(shown.items())}


def _model(
    model: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]], evidence: Mapping[str, Any]
) -> ModelReport:
    served = served_name(dict(model))
    plan = mapping(chosen.get(str(model.get("name"))))
    predicted = mapping(model.get("predicted"))
    checked = _checked(served, evidence)
    return ModelReport(
        name=name(served),
        further_names=[name(one) for one in further_names(dict(model))],
        strategy=name(plan.get("strategy")),
        context_length=whole(model.get("context_length")),
        slots=whole(model.get("parallel")),
        kv_cache_type=name(model.get("kv_cache_type")),
        gpu_layers=whole(predicted.get("gpu_layers")),
        total_layers=whole(predicted.get("total_layers")),
        predicted_bytes=_sum(predicted.get("devices"), "total_bytes"),
        observed_bytes=_sum(checked.get("devices"), "observed_bytes"),
        verdict=name(verdict_of(dict(evidence), dict(checked))) if checked else "",
        tokens_per_second=number(checked.get("tokens_per_second")),
        load_seconds=number(checked.get("load_seconds")),
        problems=_problems(checked),
    )


def _checked(served: str, evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    """The evidence of a model of an instance."""
    models = mappings(evidence.get("models"))
    return next((one for one in models if key_of(str(one.get("name"))) == key_of(served)), {})


def _sum(devices: Any, key: str) -> Optional[int]:
    sizes = [whole(device.get(key)) for device in mappings(devices)]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _problems(subject: Mapping[str, Any]) -> list[str]:
    """The checks of a model or an instance that did not pass, in words."""
    said = []
    for check in mappings(subject.get("checks")):
        if check.get("passed") is False or (check.get("passed") is None and check.get("required", True)):
            word = "is not as planned" if check.get("passed") is False else "is not proven"
            words = (check.get("name"), word, or_unknown(check.get("observed")), or_unknown(check.get("expected")))
            said.append(text("%s %s: %s instead of %s" % words))
    return said
