# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama.cpp's own fitting (`common_params_fit_impl`, common/fit.cpp, build 11669): how many layers go to each device.

It leaves a margin free on every device. If the model fits as it is, nothing changes: layers go by free memory. If
not, devices are filled from the last to the first, and what remains stays on the host. For mixture-of-experts models
the layers are first counted without their experts; if all of those fit, experts are added from the first device on,
and the first layer that is not full keeps a part of its feed-forward weights if there is room.
"""

from __future__ import annotations

from ..memory import estimate as memory

MARGIN_BYTES = 1024 * 1024 * 1024

# What a layer that is not full leaves to the next device or the host ("overflow").
EXPERTS = "experts"
FEED_FORWARD = "attention only"
GATE_AND_DOWN = "attention and up"
DOWN = "attention, up and gate"


def fit(
    model,
    free_bytes,
    context_length,
    parallel=1,
    ubatch=512,
    cache_type="f16",
    flash_attention=True,
    gpu_layers=None,
    margins=None,
    enabled=True,
    tensor_split=None,
):
    """Layers per device as the engine would load them.

    Args:
        model: dict of model_info.
        free_bytes: free memory of each device, in the engine's order.
        context_length, parallel, ubatch, cache_type, flash_attention: as memory.estimate takes them.
        gpu_layers: --n-gpu-layers, or None; a number switches the fitting off.
        margins: bytes to leave free on each device; 1 GiB each by default.
        enabled: LLAMA_ARG_FIT.
        tensor_split: the user's proportions, or None; they switch the fitting off.

    Returns:
        dict: `changed` (whether the fit altered anything), `layers` (per device), `overflowing` (layers whose experts
        lie elsewhere, all devices together), `moved` (as memory.estimate takes it), `used_bytes` (per device: weights,
        KV cache and compute buffer), `counted_bytes` (per device, what the fit had counted when it was done with the
        device: less where it then filled another one, which can switch the pipeline and its copies on).
    """
    margins = margins or [MARGIN_BYTES] * len(free_bytes)

    def measure(shares, layers=None, moved=None):
        devices = memory.estimate(model, shares, context_length, parallel, ubatch, cache_type, flash_attention, layers, moved)["devices"]
        return devices, [used(device) for device in devices]

    devices, sizes = measure(tensor_split or free_bytes, gpu_layers)
    unchanged = {
        "changed": False,
        "layers": [device["layers"] for device in devices],
        "overflowing": 0,
        "moved": {},
        "used_bytes": sizes,
        "counted_bytes": sizes,
    }
    if gpu_layers is not None or tensor_split or not enabled or not free_bytes:
        return unchanged
    if all(free - size >= margin for free, size, margin in zip(free_bytes, sizes, margins)):
        return unchanged
    trial = _Trial(model, measure, [free - margin for free, margin in zip(free_bytes, margins)])
    trial.fill_back_to_front()
    if trial.experts and trial.all_layers_placed():
        trial.fill_front_to_back()
    return {
        "changed": True,
        "layers": list(trial.layers),
        "overflowing": sum(trial.parts),
        "moved": trial.moved(trial.layers, trial.parts, trial.overflows),
        "used_bytes": trial.sizes(trial.layers, trial.parts, trial.overflows),
        "counted_bytes": trial.counted,
    }


def used(device):
    """Bytes that the engine counts on a device: weights, KV cache and compute buffer (no context, no projector)."""
    return device["weight_bytes"] + device["kv_bytes"] + device["compute_bytes"]


def on_host(moved):
    """Whether any of the weights that lie elsewhere than their layer lie on the host."""
    return any(target is None for dummy, target in moved.values())


class _Trial:
    """A distribution in the making: per device its layers, how many of them are parts, and what the first part leaves."""

    def __init__(self, model, measure, targets):
        self.measure = measure
        self.targets = targets
        self.count = len(targets)
        self.blocks = model["block_count"]
        self.experts = [layer.get("expert_bytes") or 0 for layer in model["layers"]] if model.get("expert_count") else []
        # Up and gate have one type in all layers; where types differ, it is the down matrix that is larger.
        self.matrix = min([size for size in self.experts if size] or [0]) // 3
        self.layers = [0] * self.count
        self.parts = [0] * self.count
        self.overflows = [EXPERTS] * self.count
        self.counted = [0] * self.count

    def sizes(self, layers, parts, overflows):
        """Bytes used per device."""
        if not sum(layers):
            return [0] * self.count
        return self.measure(layers, sum(layers), self.moved(layers, parts, overflows))[1]

    def moved(self, layers, parts, overflows):
        """What lies elsewhere than its layer: {slot: (bytes, device or None)}.

        llama.cpp counts the layers of a device full ones first; on the last device the output layer is among those,
        so its parts end one past the last block, which matches nothing.
        """
        result = {}
        slot = self.blocks + 1 - sum(layers)
        for device in range(self.count):
            slot += layers[device] - parts[device]
            for index in range(parts[device]):
                if slot < self.blocks:
                    kind = overflows[device] if index == 0 else EXPERTS
                    target = device + 1 if kind != EXPERTS and index == 0 and device + 1 < self.count else None
                    result[slot] = (self._leaves(slot, kind), target)
                slot += 1
        return result

    def _leaves(self, slot, kind):
        whole = self.experts[slot]
        if kind == DOWN:
            return whole - 2 * self.matrix
        if kind == GATE_AND_DOWN:
            return whole - self.matrix
        return whole

    def fill_back_to_front(self):
        """Give each device, from the last, as many of the remaining layers as fit (without their experts)."""
        for device in range(self.count - 1, -1, -1):
            remaining = self.blocks + 1 - sum(self.layers)
            for amount in range(remaining, 0, -1):
                layers, parts = list(self.layers), list(self.parts)
                layers[device] = amount
                if self.experts:
                    parts[device] = amount - (device == self.count - 1)
                if self.sizes(layers, parts, self.overflows)[device] <= self.targets[device]:
                    self.layers, self.parts = layers, parts
                    break
            self._count(device)

    def _count(self, device):
        self.counted[device] = self.sizes(self.layers, self.parts, self.overflows)[device]

    def all_layers_placed(self):
        """Whether every layer has a device, so that experts may be added."""
        return sum(self.layers) == self.blocks + 1

    def fill_front_to_back(self):
        """Turn parts into full layers, from the first device on, taking them from the devices behind."""
        start = next(device for device in range(self.count) if self.layers[device])
        for device in range(self.count):
            if device > start:
                break
            start = self._fill(device, start)
            start = self._one_part_more(device, start)
            self._count(device)

    def _converted(self, device, start, amount):
        """(layers, parts, first device with parts) after `amount` parts became full layers of a device."""
        layers, parts = list(self.layers), list(self.parts)
        while start < self.count:
            step = min(amount, parts[start])
            layers[start] -= step
            parts[start] -= step
            layers[device] += step
            amount -= step
            if parts[start] or start == self.count - 1:
                break
            start += 1
        return layers, parts, start

    def _fill(self, device, start):
        available = sum(self.parts[start:])
        for amount in range(available, 0, -1):
            layers, parts, begin = self._converted(device, start, amount)
            if self.sizes(layers, parts, self.overflows)[device] <= self.targets[device]:
                self.layers, self.parts = layers, parts
                return begin
        return start

    def _one_part_more(self, device, start):
        """Give a device one more layer, of which a part overflows to the next device or the host."""
        if self.parts[start] < 1 or self.layers[start] <= (0 if device < self.count - 1 else 1):
            return start
        layers, parts = list(self.layers), list(self.parts)
        layers[start] -= 1
        parts[start] -= 1
        layers[device] += 1
        parts[device] += 1
        begin = start + 1 if parts[start] == 0 and start < self.count - 1 else start
        for kind in (DOWN, GATE_AND_DOWN, FEED_FORWARD):
            overflows = list(self.overflows)
            overflows[device] = kind
            sizes = self.sizes(layers, parts, overflows)
            after = device + 1
            if sizes[device] < self.targets[device] and (after == self.count or sizes[after] < self.targets[after]):
                self.layers, self.parts, self.overflows = layers, parts, overflows
                return begin
        return start
