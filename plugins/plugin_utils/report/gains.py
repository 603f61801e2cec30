# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a plan gains over Ollama without any setting, in bytes, tokens of context and replicas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import counted, gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.model_places import ModelPlace, and_list


@dataclass(frozen=True)
class Gains:
    """A model of a plan beside the same model without any setting.

    `loads` tells whether only the plan loads it at all. `layers` are layers on GPUs that the CPU would have (negative:
    that the CPU has by the plan), and `layer_bytes` about their weights. `bytes` is memory that the model takes less by
    the figures of both, negative where it takes more. `context` is how many tokens of context it has more (negative:
    fewer), `replicas` how many instances more, and `free_gpus` the labels of GPUs that it leaves to others.
    """

    loads: bool = False
    layers: int = 0
    layer_bytes: int = 0
    bytes: int = 0
    context: int = 0
    replicas: int = 0
    free_gpus: tuple[str, ...] = ()


def gains(place: ModelPlace, untouched: dict[str, Any], labels: dict[str, str]) -> Optional[Gains]:
    """Return what a plan gains; None where the plan does not say what Ollama would do.

    Args:
        place: where the plan puts the model.
        untouched: its `default_behaviour`.
        labels: of the GPUs by UUID.
    """
    if not untouched or not place.replicas:
        return None
    if untouched.get("error") or untouched.get("outcome") is None:
        return Gains(loads=True, replicas=place.replicas - 1)
    before = sum(untouched.get("layers") or [])
    layers = place.gpu_layers - before
    per_layer = place.weight_bytes // place.gpu_layers if place.gpu_layers else 0
    used = set(untouched.get("gpu_uuids") or [])
    reckoned = untouched.get("predicted_bytes") or 0
    comparable = untouched["outcome"] in ("single", "split") and not layers and reckoned
    return Gains(
        layers=layers,
        layer_bytes=abs(layers) * per_layer,
        bytes=reckoned - place.bytes_of_one * place.replicas if comparable else 0,
        context=(place.context_length or 0) - (untouched.get("context_length") or place.context_length or 0),
        replicas=place.replicas - 1,
        free_gpus=tuple(labels.get(uuid, uuid) for uuid in sorted(used - set(place.gpu_uuids))),
    )


def gains_text(found: Gains) -> tuple[str, str]:
    """Return "gained", or "given up" where nothing is gained, and both in one sentence."""
    said = []
    if found.loads:
        said.append("it is loaded at all")
    if found.replicas:
        said.append("+%s" % counted(found.replicas, "replica"))
    if found.layers > 0:
        text = "+%s on GPUs, about %s that the CPU would hold"
        said.append(text % (counted(found.layers, "layer"), gib(found.layer_bytes)))
    if found.context > 0:
        said.append("+%d tokens of context" % found.context)
    if found.bytes > 0:
        said.append("%s of memory stay free" % gib(found.bytes))
    if found.free_gpus and not found.replicas:
        said.append("%s left to other models" % and_list(found.free_gpus))
    costs = []
    if found.context < 0:
        costs.append("%d tokens of context less" % -found.context)
    if found.layers < 0:
        costs.append("%s less on GPUs" % counted(-found.layers, "layer"))
    if found.bytes < 0:
        costs.append("%s of memory more" % gib(-found.bytes))
    if not said and not costs:
        return "gained", "nothing: Ollama would do the same by itself; the plan keeps it so"
    text = ", for ".join([part for part in (", ".join(said), " and ".join(costs)) if part])
    return "gained" if said else "given up", text
