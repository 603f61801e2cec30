# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan that was written down and reviewed: whether the host is still the one that it was made for. Pure.

A plan that is made now has to say the same, or else what is applied is not what was reviewed. That finds what no list
of reasons has: variables that were changed, and memory that others have taken since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.differences import value_in_words
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.gpu_devices import mig_devices
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import without_credentials
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_differences import plan_differences

#: What explains an entry of the plan, and depends on the free memory of the moment.
_EXPLAINS = ("predicted", "expected")
_OF_GPUS = {
    "name": "is",
    "total_bytes": "has",
    "compute_capability": "has compute capability",
    "mig": "has MIG devices",
}
#: Variables that change the host and are in no plan.
_IN_NO_PLAN = tuple(
    "ollama_multigpu_" + name
    for name in (
        "allow_from",
        "check_interval",
        "devices",
        "heal",
        "metrics_directory",
        "peers",
        "release_checksum",
        "release_url",
        "sandbox",
        "unproven",
    )
)


def basis_of(
    plan: Mapping[str, Any], host: Mapping[str, Any], gpu_inventory: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a plan was made from, beside the plan in force, and what is applied with it.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        gpu_inventory: of module gpu_facts.
        settings: variables of the role.

    Returns:
        {driver_version, release (the one in use), gpus {uuid: {name, ...}}, models {name: {digest, headers}},
        settings {name: value of a variable that is in no plan, without credentials}}.
    """
    models = {}
    for instance in plan.get("instances") or []:
        for model in instance["models"]:
            draft = model.get("draft") or {}
            for entry in [model, *([draft] if isinstance(draft, Mapping) and draft.get("name") else [])]:
                models[str(entry["name"])] = {"digest": entry.get("planned_digest"), "headers": entry.get("headers")}
    return {
        "driver_version": gpu_inventory.get("driver_version"),
        "release": (host.get("release") or {}).get("current"),
        "gpus": {str(gpu.get("uuid")): _gpu(gpu) for gpu in gpu_inventory.get("gpus") or []},
        "models": models,
        "settings": {name: _plain(settings[name]) for name in _IN_NO_PLAN if name in settings},
    }


def _plain(value: Any) -> Any:
    """A value as it is compared: -e gives texts, and the order of a list says nothing."""
    if isinstance(value, (list, tuple)):
        return sorted(str(_plain(one)) for one in value)
    text = "" if value is None else without_credentials(str(value))
    return text.lower() if text in ("True", "False") else text


def _gpu(gpu: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": gpu.get("name"),
        "total_bytes": (gpu.get("memory") or {}).get("total_bytes"),
        "compute_capability": gpu.get("compute_capability"),
        "mig": sorted(str(device.get("uuid")) for device in mig_devices(gpu)),
    }


def obstacles(reviewed: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return sentences about what has changed since a plan was written; [] where it can be applied as it is.

    Args:
        reviewed: the data of the host that was written (report/plan_record.py).
        now: the same data as it is now.
    """
    said = _of_basis(reviewed["basis"], now["basis"], str(reviewed["plan"].get("ollama_version")))
    # Once it is applied, it is itself what is in force.
    if now["applied"] != reviewed["applied"] and now["applied"] != reviewed["plan"]:
        said += _of_applied(reviewed["applied"], now["applied"])
    if not said:
        said = [
            "a plan that is made now says otherwise: %s" % text for text in _of_plans(reviewed["plan"], now["plan"])
        ]
        said += _of_settings(*(one["basis"].get("settings") or {} for one in (reviewed, now)))
    if not said:
        return []
    title = (
        "The reviewed plan of %s cannot be applied, because the host or its variables have changed since it was made"
    )
    return ["%s: %s. Make the plan again and have it reviewed." % (title % reviewed["host"], "; ".join(said))]


def _of_basis(before: Mapping[str, Any], after: Mapping[str, Any], version: str) -> list[str]:
    said = []
    for uuid in sorted(set(before["gpus"]) | set(after["gpus"])):
        said += _of_gpu(uuid, before["gpus"].get(uuid), after["gpus"].get(uuid))
    if before["driver_version"] != after["driver_version"]:
        said.append(
            "the driver is %s instead of %s" % (_word(after["driver_version"]), _word(before["driver_version"]))
        )
    # A run that was killed may have got as far as the release.
    if after["release"] not in (before["release"], version):
        said.append("the host runs Ollama %s instead of %s" % (_word(after["release"]), _word(before["release"])))
    for name in sorted(set(before["models"]) & set(after["models"])):
        old, new = before["models"][name], after["models"][name]
        if old["digest"] != new["digest"]:
            said.append("the manifest of %s is %s instead of %s" % (name, _word(new["digest"]), _word(old["digest"])))
        elif old["headers"] != new["headers"]:
            said.append("the header of %s is another one" % name)
    return said


def _of_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return ["%s was changed" % name for name in _IN_NO_PLAN if before.get(name) != after.get(name)]


def _of_gpu(uuid: str, before: Any, after: Any) -> list[str]:
    if before is None:
        return ["%s (%s) is new" % (uuid, after["name"])]
    if after is None:
        return ["%s (%s) is gone" % (uuid, before["name"])]
    return [
        "%s %s %s instead of %s" % (uuid, words, _size(key, after[key]), _size(key, before[key]))
        for key, words in _OF_GPUS.items()
        if before.get(key) != after.get(key)
    ]


def _size(key: str, value: Any) -> str:
    if key == "total_bytes" and isinstance(value, int):
        return gib(value)
    return (", ".join(value) or "none") if isinstance(value, list) else _word(value)


def _of_applied(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    if not before or not after:
        return ["there is a plan in force, and there was none" if after else "the plan in force is gone"]
    said = plan_differences(dict(before), dict(after)) or ["it was made anew"]
    return ["another plan was applied: %s" % text for text in said]


def _of_plans(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What a plan says otherwise, but for what explains it."""
    after = _on_basis_of(before, after)
    said = plan_differences(dict(before), dict(after))
    addresses = [value_in_words(plan.get("advertise_address")) for plan in (before, after)]
    if addresses[0] != addresses[1]:
        said.append("ollama_multigpu_advertise_address %s -> %s" % tuple(addresses))
    if said:
        return said
    old, new = _settled(before), _settled(after)
    names = sorted(set(old) | set(new), key=str)
    return ["instance %s" % name for name in names if old.get(name) != new.get(name)]


def _on_basis_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """A plan with the figures of an earlier one where these have another basis (predicted, measured): nothing is
    measured for a reviewed plan. Only figures of the same instance, model, GPUs and layers are taken."""
    known = {_figures_of(instance, model): model["predicted"] for instance, model in _models(before)}

    def of_model(instance: Mapping[str, Any], model: Mapping[str, Any]) -> Mapping[str, Any]:
        earlier = known.get(_figures_of(instance, model))
        is_other = earlier is not None and earlier.get("basis") != model["predicted"].get("basis")
        return dict(model, predicted=earlier) if is_other else model

    instances = [
        dict(instance, models=[of_model(instance, model) for model in instance["models"]])
        for instance in after.get("instances") or []
    ]
    return dict(after, instances=instances)


def _models(plan: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for instance in plan.get("instances") or []:
        for model in instance["models"]:
            yield instance, model


def _figures_of(instance: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[Any, ...]:
    devices = tuple((device["uuid"], device.get("layers")) for device in model["predicted"]["devices"])
    return instance["name"], model["name"], devices


def _settled(plan: Mapping[str, Any]) -> dict[Any, Any]:
    return {
        instance["name"]: dict(
            instance,
            models=[
                {key: value for key, value in model.items() if key not in _EXPLAINS} for model in instance["models"]
            ],
        )
        for instance in plan.get("instances") or []
    }


def _word(value: Any) -> str:
    return "not known" if value is None else str(value)
