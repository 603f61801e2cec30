# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where a plan puts a model, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import served_name


@dataclass(frozen=True)
class ModelPlace:
    """A model of a plan with all its instances.

    `name` is the one that is asked for and `served` the one that clients use. `strategy` is the chosen one. `urls` and
    `gpu_sets` (UUIDs) have one entry for each replica. `layers` are those of one instance by GPU, of `total_layers`.
    `weight_bytes` and `bytes_of_one` are of one instance on its GPUs.
    """

    name: str
    served: str
    strategy: str
    aliases: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    gpu_sets: tuple[tuple[str, ...], ...] = ()
    layers: tuple[int, ...] = ()
    total_layers: int = 0
    context_length: Optional[int] = None
    parallel: int = 1
    kv_cache_type: str = "f16"
    resident: bool = True
    weight_bytes: int = 0
    bytes_of_one: int = 0
    host_bytes: int = 0
    basis: str = "predicted"

    @property
    def replicas(self) -> int:
        """How many instances serve it."""
        return len(self.instances)

    @property
    def gpu_layers(self) -> int:
        """Layers of one instance on GPUs."""
        return sum(self.layers)

    @property
    def gpu_uuids(self) -> tuple[str, ...]:
        """All GPUs that it is on."""
        return tuple(dict.fromkeys(uuid for uuids in self.gpu_sets for uuid in uuids))


def model_places(plan: dict[str, Any]) -> dict[str, ModelPlace]:
    """Return {name: place} of the models of a plan in its order; a model without a place has no instances."""
    strategies = {entry["name"]: str(entry.get("strategy")) for entry in plan.get("models") or []}
    members: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {name: [] for name in strategies}
    for instance in plan.get("instances") or []:
        for model in instance["models"]:
            members.setdefault(model["name"], []).append((instance, model))
    return {name: _place(name, strategies.get(name, ""), found) for name, found in members.items()}


def _place(name: str, strategy: str, members: list[tuple[dict[str, Any], dict[str, Any]]]) -> ModelPlace:
    if not members:
        return ModelPlace(name, name, strategy)
    model = members[0][1]
    predicted = model["predicted"]
    devices = predicted["devices"]
    return ModelPlace(
        name=name,
        served=served_name(model),
        strategy=strategy,
        aliases=tuple(model.get("aliases") or ()),
        instances=tuple(instance["name"] for instance, _model in members),
        urls=tuple(instance["url"] for instance, _model in members),
        gpu_sets=tuple(tuple(instance["gpu_uuids"]) for instance, _model in members),
        layers=tuple(device.get("layers") or 0 for device in devices),
        total_layers=predicted.get("total_layers") or 0,
        context_length=model.get("context_length"),
        parallel=model.get("parallel") or 1,
        kv_cache_type=model.get("kv_cache_type") or "f16",
        resident=model.get("resident", True),
        weight_bytes=sum(device["weight_bytes"] for device in devices),
        bytes_of_one=sum(device["total_bytes"] for device in devices),
        host_bytes=predicted.get("host_bytes") or 0,
        basis=predicted.get("basis") or "predicted",
    )


def on_gpus(uuids: Sequence[str], labels: dict[str, str]) -> str:
    """Return GPUs in words: "GPU 0", "GPU 0 and 1", "GPU 0 to 7", "the CPU"."""
    if not uuids:
        return "the CPU"
    words = [labels.get(uuid, str(uuid)) for uuid in uuids]
    numbers = [word[4:] for word in words if word.startswith("GPU ") and word[4:].isdigit()]
    if len(numbers) < len(words):
        return and_list(words)
    ordered = sorted(map(int, numbers))
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return "GPU %d to %d" % (ordered[0], ordered[-1])
    return "GPU " + and_list(list(map(str, ordered)))


def place_text(place: ModelPlace, labels: dict[str, str]) -> str:
    """Return where a model is: "split over GPU 0 and 1", "replicated on GPU 0 and 1"."""
    where = on_gpus(place.gpu_uuids, labels)
    if not place.gpu_uuids:
        return "on the CPU"
    if place.replicas > 1:
        shared = "" if all(len(uuids) == 1 for uuids in place.gpu_sets) else ", %d GPUs each" % len(place.gpu_sets[0])
        return "%d replicas on %s%s" % (place.replicas, where, shared)
    words = {"split": "split over", "spread": "spread over"}
    return "%s %s" % (words.get(place.strategy, "on") if len(place.gpu_uuids) > 1 else "on", where)


def and_list(words: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
