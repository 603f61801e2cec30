# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama.cpp's own fitting (`common_params_fit_impl`, common/fit.cpp, build 11669): how many layers go to each device.

It leaves a margin free on every device. If the model fits as it is, nothing changes: layers go by free memory. If
not, devices are filled from the last to the first, and what remains stays on the host. For mixture-of-experts models
the layers are first counted without their experts; if there is room left over, experts are added from the first device
on, and the first layer that is not full keeps a part of its feed-forward weights. Checked against the engine's own fits.
"""

from __future__ import annotations

from ..memory import estimate as memory
from ..memory import weights

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
    unified=False,
    op_offload=False,
):
    """Layers per device as the engine would load them.

    Args:
        model: dict of model_info.
        free_bytes: free memory of each device, in the engine's order.
        context_length, parallel, ubatch, cache_type, flash_attention, unified: as memory.estimate takes them.
        gpu_layers: --n-gpu-layers, or None; a number switches the fitting off.
        margins: bytes to leave free on each device; 1 GiB each by default.
        enabled: LLAMA_ARG_FIT.
        tensor_split: the user's proportions, or None; they switch the fitting off.
        op_offload: whether the device computes for weights on the host, as CUDA does (memory.estimate): the fit then counts its scratch
            memory. The devices of the recorded fits do not.

    Returns:
        dict: `changed` (whether the fit altered anything), `layers` (per device), `overflowing` (layers with weights
        elsewhere, all devices together: the number of -ot patterns), `moved` (as memory.estimate takes it), `used_bytes` (per device: weights,
        KV cache and compute buffer), `counted_bytes` (per device, what the fit had counted when it was done with the
        device: less where it then filled another one, which can switch the pipeline and its copies on).
    """
    margins = margins or [MARGIN_BYTES] * len(free_bytes)

    def measure(shares, layers=None, moved=None):
        devices = memory.estimate(
            model,
            shares,
            context_length,
            parallel,
            ubatch,
            cache_type,
            flash_attention,
            layers,
            moved,
            unified=unified,
            op_offload=op_offload,
        )["devices"]
        return [used(device) for device in devices]

    counts = weights.layer_counts(
        weights.assign_layers(tensor_split or free_bytes, model.block_count + 1, gpu_layers), len(free_bytes)
    )
    sizes = measure(tensor_split or free_bytes, gpu_layers)
    unchanged = {
        "changed": False,
        "layers": counts,
        "overflowing": 0,
        "moved": {},
        "used_bytes": sizes,
        "counted_bytes": sizes,
    }
    if gpu_layers is not None or tensor_split or not enabled or not free_bytes:
        return unchanged
    if all(free - size >= margin for free, size, margin in zip(free_bytes, sizes, margins)):
        return unchanged
    search = _Fit(model, measure, [free - margin for free, margin in zip(free_bytes, margins)])
    search.fill_back_to_front()
    if search.experts and sum(search.share.layers) and _room_without_experts(model, measure, free_bytes, margins) > 0:
        search.fill_front_to_back()
    share = search.share
    return {
        "changed": True,
        "layers": list(share.layers),
        "overflowing": sum(max(0, parts) for parts in share.parts),
        "moved": search.moved(share),
        "used_bytes": search.measured(share),
        "counted_bytes": search.counted,
    }


def _room_without_experts(model, measure, free_bytes, margins):
    """Bytes left on all devices together with every layer on them and every expert on the host."""
    moved = {
        slot: (layer["expert_bytes"], None) for slot, layer in enumerate(model.layers) if layer.get("expert_bytes")
    }
    return sum(free_bytes) - sum(margins) - sum(measure(free_bytes, None, moved))


def used(device):
    """Bytes that the engine counts on a device: weights, KV cache and compute buffer with its scratch (no context, no projector)."""
    return device["weight_bytes"] + device["kv_bytes"] + device["compute_bytes"] + device["offload_scratch_bytes"]


def on_host(moved):
    """Whether any of the weights that lie elsewhere than their layer lie on the host."""
    return any(target is None for dummy, target in moved.values())


class _Share:
    """How many layers each device has, in the making.

    `layers`: per device; `parts`: how many of those leave weights elsewhere; `kinds`: what the first part of a device
    leaves, all further parts leave their experts; `targets`: where the first part leaves it (a device, or None for
    the host); `start`: the first device that still has parts to turn into full layers.
    """

    def __init__(self, count):
        self.layers, self.parts = [0] * count, [0] * count
        self.kinds, self.targets = [EXPERTS] * count, [None] * count
        self.start = 0

    def copy(self):
        other = _Share(0)
        other.layers, other.parts = list(self.layers), list(self.parts)
        other.kinds, other.targets = list(self.kinds), list(self.targets)
        other.start = self.start
        return other

    def full(self, device):
        return self.layers[device] - self.parts[device]


class _Fit:
    """The search. Counts are found by the method of false position, as llama.cpp does: where a size does not grow
    evenly with the layers, another search could end elsewhere."""

    def __init__(self, model, measure, limits):
        self.model, self.measure, self.limits = model, measure, limits
        self.count, self.blocks = len(limits), model.block_count
        self.leaving = Leaving(model)
        self.experts = bool(model.expert_count)
        self.share = _Share(self.count)
        self.sizes = [0] * self.count
        self.counted = [0] * self.count

    def measured(self, share):
        """Bytes used per device."""
        if sum(share.layers) <= 0:
            return [0] * self.count
        return self.measure(share.layers, sum(share.layers), self.moved(share))

    def moved(self, share):
        """What lies elsewhere than its layer: {slot: (bytes, device or None)}.

        llama.cpp counts the layers of a device full ones first; on the last device the output layer is among those,
        so its parts end one past the last block, which matches nothing.
        """
        result = {}
        slot = self.blocks + 1 - sum(share.layers)
        for device in range(self.count):
            slot += share.full(device)
            for index in range(share.parts[device]):
                if 0 <= slot + index < self.blocks:
                    kind, target = (share.kinds[device], share.targets[device]) if index == 0 else (EXPERTS, None)
                    result[slot + index] = (self.leaving.bytes(slot + index, kind), target)
            slot += share.parts[device]
        return result

    def accept(self, share, sizes):
        self.share, self.sizes = share, sizes

    def fill_back_to_front(self):
        """Give each device, from the last, as many of the remaining layers as fit, without their experts."""
        for device in range(self.count - 1, -1, -1):
            last = device == self.count - 1
            high = self.share.copy()
            high.layers[device] = self.blocks + 1 - sum(self.share.layers[device + 1 :])
            if self.experts:
                high.parts[device] = high.layers[device] - last

            def advanced(step, device=device, last=last):
                trial = self.share.copy()
                trial.layers[device] += step
                if self.experts:
                    # The output layer, the first that the last device gets, is never a part.
                    trial.parts[device] += step - 1 if last and not trial.parts[device] else step
                return trial

            if high.layers[device] > 0:
                self._search(device, high, lambda share, device=device: share.layers[device], advanced)
            self.counted[device] = self.sizes[device]

    def _search(self, device, high, amount, advanced):
        """Move self.share towards `high` as far as the device's limit allows."""
        high_sizes = self.measured(high)
        if high_sizes[device] <= self.limits[device]:
            self.accept(high, high_sizes)
            return
        while amount(high) - amount(self.share) > 1:
            delta = amount(high) - amount(self.share)
            room, span = self.limits[device] - self.sizes[device], high_sizes[device] - self.sizes[device]
            step = delta * room // span if span > 0 and room >= 0 else delta - 1
            trial = advanced(min(max(step, 1), delta - 1))
            sizes = self.measured(trial)
            if sizes[device] <= self.limits[device]:
                self.accept(trial, sizes)
            else:
                high, high_sizes = trial, sizes

    def fill_front_to_back(self):
        """Turn parts into full layers, from the first device on, taking them from the devices behind."""
        self.share.start = next(device for device in range(self.count) if self.share.layers[device])
        device = 0
        while device <= self.share.start < self.count:
            self._full_layers(device)
            self._one_part_more(device)
            self.counted[device] = self.sizes[device]
            device += 1

    def _full_layers(self, device):
        """Give a device as many full layers as fit."""
        high = self.share.copy()
        for behind in range(high.start, self.count):
            moving = high.layers[behind] - (behind == self.count - 1)
            high.layers[device] += moving
            high.layers[behind] -= moving
            high.parts[behind] = 0
        high.start = self.count - 1
        self._search(device, high, lambda share: share.full(device), lambda step: self._converted(device, step))

    def _converted(self, device, amount):
        """The share after `amount` parts became full layers of a device."""
        trial = self.share.copy()
        while trial.start < self.count:
            taken = min(amount, trial.parts[trial.start])
            trial.layers[trial.start] -= taken
            trial.parts[trial.start] -= taken
            trial.layers[device] += taken
            amount -= taken
            if trial.parts[trial.start] > 0:
                break
            trial.start += 1
        return trial

    def _one_part_more(self, device):
        """Give a device one more layer, of which as little as possible goes to the next device or the host."""
        last, start = device == self.count - 1, self.share.start
        if start >= self.count or self.share.layers[start] <= last:
            return
        trial = self.share.copy()
        # Where the device behind has its output layer alone, llama.cpp takes that: minus one part is left there.
        trial.layers[start] -= 1
        trial.parts[start] -= 1
        trial.layers[device] += 1
        trial.parts[device] += 1
        if trial.parts[start] == 0:
            trial.start += 1
        behind = None if last else device + 1
        if self._try_part(device, trial, GATE_AND_DOWN, behind):
            self._try_part(device, trial, DOWN, behind)
        else:
            self._try_part(device, trial, FEED_FORWARD, behind)

    def _try_part(self, device, trial, kind, target):
        trial = trial.copy()
        trial.kinds[device], trial.targets[device] = kind, target
        sizes = self.measured(trial)
        after = device + 1
        if sizes[device] < self.limits[device] and (after == self.count or sizes[after] < self.limits[after]):
            self.accept(trial, sizes)
            return True
        return False


class Leaving:
    """Bytes that a layer leaves elsewhere, by kind: tensors that llama.cpp's patterns match (`get_overflow_pattern`).

    A pattern takes everything whose name begins alike: gate also the router and the shared experts' gate.
    """

    def __init__(self, model):
        self.layers = model.layers
        # Where only the experts are known: up and gate have one type in all layers; where types differ, down is larger.
        self.matrix = (
            min([size for size in (layer.get("expert_bytes") or 0 for layer in self.layers) if size] or [0]) // 3
        )

    def bytes(self, slot, kind):
        """Bytes of one kind of block `slot`."""
        layer = self.layers[slot]
        experts = layer.get("expert_bytes") or 0
        if kind == EXPERTS:
            return experts
        if layer.get("ffn_down_bytes") is None:
            return experts - {FEED_FORWARD: 0, GATE_AND_DOWN: 1, DOWN: 2}[kind] * self.matrix
        parts = {FEED_FORWARD: ("up", "gate", "down"), GATE_AND_DOWN: ("gate", "down"), DOWN: ("down",)}[kind]
        return sum(layer["ffn_%s_bytes" % part] for part in parts)
