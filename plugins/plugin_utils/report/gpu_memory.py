# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The memory of a host's GPUs as a plan divides it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import served_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.names import number_of, short_name
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import (
    Line,
    Span,
    Style,
    columns_of,
    cut,
    line,
    memory_bar,
    padded,
)

#: Keys of a plan's device, by the part that they are shown as.
_PARTS = {
    "weights": ("weight_bytes", "projector_bytes", "adapter_bytes", "draft_bytes"),
    "kv": ("kv_bytes",),
    "compute": ("compute_bytes", "offload_scratch_bytes", "draft_compute_bytes", "overhead_bytes"),
}
_LONGEST_NAME = 24
_SHORT_NAME = 12
#: Terminals on which names are short, and on which there is no place for them.
_NARROW, _NARROWER = 72, 60
_SHORTEST_BAR, _LONGEST_BAR = 8, 64


@dataclass(frozen=True)
class GpuMemory:
    """A GPU (or MIG device) of a plan; all sizes in bytes.

    `label` is how people call it ("GPU 0"). `weights`, `kv` and `compute` are what the plan gives to its models,
    `others` what other programs and the driver hold. `models` are the names that clients use.
    """

    uuid: str
    label: str
    name: str
    total: int
    weights: int = 0
    kv: int = 0
    compute: int = 0
    others: int = 0
    models: tuple[str, ...] = ()

    @property
    def planned(self) -> int:
        """Bytes that the plan gives to its models."""
        return self.weights + self.kv + self.compute

    def data(self) -> dict[str, Any]:
        """Return it as JSON."""
        return dict(asdict(self), models=list(self.models))


def gpu_labels(plan: dict[str, Any]) -> dict[str, str]:
    """Return {uuid: "GPU 0"} of all GPUs that a plan knows."""
    gpus = (plan.get("gpus") or []) + (plan.get("left_out") or [])
    return {gpu["uuid"]: "GPU %s" % number_of(gpu) for gpu in gpus if number_of(gpu) is not None}


def gpu_memory(plan: dict[str, Any]) -> list[GpuMemory]:
    """Return the GPUs of a plan with the memory of its models.

    Of the models on demand of an instance one is loaded at a time: the largest counts.
    """
    labels = gpu_labels(plan)
    found = []
    for gpu in plan.get("gpus") or []:
        sums = dict.fromkeys(_PARTS, 0)
        models: list[str] = []
        for instance in plan["instances"]:
            needs = [
                (model, device)
                for model in instance["models"]
                for device in model["predicted"]["devices"]
                if device["uuid"] == gpu["uuid"]
            ]
            models += [served_name(model) for model, _device in needs]
            counted = [device for model, device in needs if model.get("resident", True)]
            on_demand = [device for model, device in needs if not model.get("resident", True)]
            counted += sorted(on_demand, key=lambda device: device["total_bytes"])[-1:]
            for part, keys in _PARTS.items():
                sums[part] += sum(device.get(key) or 0 for device in counted for key in keys)
        found.append(
            GpuMemory(
                uuid=gpu["uuid"],
                label=labels.get(gpu["uuid"], "GPU"),
                name=short_name(gpu["name"]),
                total=gpu["total_bytes"],
                others=max(0, gpu["total_bytes"] - gpu["available_bytes"]),
                models=tuple(dict.fromkeys(models)),
                **sums,
            )
        )
    return found


def memory_rows(style: Style, gpus: list[GpuMemory], indent: str = "  ", after: str = "") -> list[Line]:
    """Return a line with a bar for each GPU.

    Args:
        style: of the terminal.
        gpus: of one host.
        indent: what each line begins with.
        after: a word behind the used bytes ("predicted").
    """
    longest = _LONGEST_NAME if style.width >= _NARROW else _SHORT_NAME if style.width >= _NARROWER else 0
    names = [cut(gpu.name, longest) + "  " if longest else "" for gpu in gpus]
    widest = max([columns_of(name) for name in names], default=0)
    labels = max([len(gpu.label) for gpu in gpus], default=0)
    used = ["%s of %s%s" % (gib(gpu.planned), gib(gpu.total), after) for gpu in gpus]
    taken = len(indent) + labels + widest + max([len(one) for one in used], default=0) + 4
    cells = min(max(style.width - taken, _SHORTEST_BAR), _LONGEST_BAR)
    return [
        line(
            indent,
            Span(padded(gpu.label, labels), "title"),
            "  ",
            padded(name, widest),
            *memory_bar(
                style,
                [("weights", gpu.weights), ("kv", gpu.kv), ("compute", gpu.compute), ("others", gpu.others)],
                gpu.total,
                cells,
            ),
            "  ",
            words,
        )
        for gpu, name, words in zip(gpus, names, used)
    ]
