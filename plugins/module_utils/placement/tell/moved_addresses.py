# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Addresses at which clients find a model by the applied plan, and would not find it any more. Pure."""

from __future__ import annotations

from typing import Any, Container, Optional, Sequence

from ...common import addresses
from ...common.names import InvalidName, full_name


def moved_addresses(applied_instances: Sequence[dict[str, Any]], instances: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about models and aliases that would not be served any more at an address that they have now.

    Args:
        applied_instances: `instances` of the applied plan as applied.sound gives it.
        instances: `instances` of the new plan. Models that it does not have are not spoken of: the user left them out.
    """
    kept = {model.get("create_as") for instance in instances for model in instance.get("models") or []}
    before, after = _by_model(applied_instances, kept), _by_model(instances)
    return [
        _sentence(name, instance, after[name], instances)
        for name in sorted(before)
        if name in after
        for instance in before[name]
        if not any(_answers(other, instance) for other in after[name])
    ]


def _by_model(
    instances: Sequence[dict[str, Any]], kept: Container[Optional[str]] = ()
) -> dict[str, list[dict[str, Any]]]:
    """{name that clients use: instances that have an address}.

    A model answers to its plain name as well. That counts unless `kept` has the name of the optimized model, which is
    spoken of then: another suffix gives the optimized model another name, and clients of the plain name stay.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for instance in instances:
        for model in instance.get("models") or []:
            if model.get("create_as") and addresses.is_port(instance.get("port")) and instance.get("address"):
                plain = [] if model["create_as"] in kept else _plain_name(model)
                for name in dict.fromkeys((model["create_as"], *(model.get("aliases") or ()), *plain)):
                    found.setdefault(name, []).append(instance)
    return found


def _plain_name(model: dict[str, Any]) -> list[str]:
    """The name that a model was given, in full; [] where a damaged plan has none."""
    try:
        return [full_name(model["name"])]
    except (KeyError, InvalidName):
        return []


def _answers(instance: dict[str, Any], at: dict[str, Any]) -> bool:
    """Whether an instance answers at the address of another one, which may be of an earlier plan."""
    return instance["port"] == at["port"] and addresses.answers(instance["address"], at["address"])


def _sentence(
    name: str, before: dict[str, Any], after: Sequence[dict[str, Any]], instances: Sequence[dict[str, Any]]
) -> str:
    others = next((_models(instance, name) for instance in instances if _answers(instance, before)), None)
    return "%s is served at %s now and would be at %s only%s: point its clients to the new address." % (
        name,
        _url(before),
        " and ".join(_url(instance) for instance in after),
        "" if not others else ", as %s will be at the old address" % " and ".join(others),
    )


def _models(instance: dict[str, Any], without: str) -> Optional[list[str]]:
    return [model["create_as"] for model in instance["models"] if model["create_as"] != without]


def _url(instance: dict[str, Any]) -> str:
    return "http://" + addresses.host_and_port(instance["address"], int(instance["port"]))
