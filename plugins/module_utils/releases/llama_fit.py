# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama.cpp's own fitting (`common_params_fit_impl`, common/fit.cpp, build 11669): how many layers go to each device.

It leaves a margin free on every device. If the model fits as it is, nothing changes: layers go by free memory. If
not, devices are filled from the last to the first, and what remains stays on the host. For mixture-of-experts models
the layers are first counted without their experts; if there is room left over, experts are added from the first device
on, and the first layer of a device that does not fit whole keeps a part of its feed-forward weights there. Checked
against the engine's own fits.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, List, Optional, Sequence

from ..memory import estimate as memory
from ..memory import weights
from ..memory.load import Load
from ..model.schema import ModelFacts

MARGIN_BYTES = 1024 * 1024 * 1024

# What of a layer that does not fit whole is elsewhere, on the next device or the host ("overflow" in common/fit.cpp).
EXPERTS = "experts"
FEED_FORWARD = "up, gate and down"
GATE_AND_DOWN = "gate and down"
DOWN = "down"

Measure = Callable[..., List[int]]  # (shares, gpu_layers, moved) -> bytes that the engine counts on each device


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """What the engine is told about layers.

    Attributes:
        gpu_layers: --n-gpu-layers; a number switches the fitting off.
        tensor_split: the user's proportions, which switch the fitting off.
        margins: bytes to leave free on each device; None = 1 GiB each.
        enabled: LLAMA_ARG_FIT.
    """

    gpu_layers: Optional[int] = None
    tensor_split: Optional[Sequence[float]] = None
    margins: Optional[Sequence[int]] = None
    enabled: bool = True


@dataclasses.dataclass(frozen=True)
class Fit:
    """How the engine loads a model.

    Attributes:
        changed: whether the fit altered anything.
        layers: per device.
        overflowing: layers with weights elsewhere, of all devices together: the number of -ot patterns.
        moved: those weights, as memory.estimate takes them.
        used_bytes: per device: weights, KV cache and compute buffer.
        counted_bytes: per device, what the fit had counted when it was done with the device. It is less where the fit
            then filled another one, which can switch the pipeline and its copies on.
    """

    changed: bool
    layers: List[int]
    overflowing: int
    moved: weights.Moved
    used_bytes: List[int]
    counted_bytes: List[int]


def fit(model: ModelFacts, free_bytes: Sequence[int], load: Load, options: FitOptions = FitOptions()) -> Fit:
    """Layers per device as the engine would load them.

    Args:
        model: the ModelFacts.
        free_bytes: free memory of each device, in the engine's order.
        load: the Load. With `op_offload`, as CUDA has it, the fit counts the scratch memory of a device that computes
            for weights on the host; the devices of the recorded fits do not do that.
        options: what the engine is told about layers.
    """
    margins = options.margins or [MARGIN_BYTES] * len(free_bytes)
    shares, gpu_layers = options.tensor_split or free_bytes, options.gpu_layers

    def measure(shares, layers=None, moved=None):
        return [device.engine_bytes for device in memory.estimate(model, shares, load, layers, moved).devices]

    sizes = measure(shares, gpu_layers)
    fixed = gpu_layers is not None or options.tensor_split or not options.enabled or not free_bytes
    if fixed or all(free - size >= margin for free, size, margin in zip(free_bytes, sizes, margins)):
        layer_devices = weights.assign_layers(shares, model.block_count + 1, gpu_layers)
        return Fit(False, weights.layer_counts(layer_devices, len(free_bytes)), 0, {}, sizes, sizes)
    search = _Fit(model, measure, [free - margin for free, margin in zip(free_bytes, margins)])
    search.fill_back_to_front()
    if search.experts and any(search.share.layers) and _room_without_experts(model, measure, free_bytes, margins) > 0:
        search.fill_front_to_back()
    share = search.share
    return Fit(
        changed=True,
        layers=list(share.layers),
        overflowing=sum(max(0, parts) for parts in share.parts),
        moved=search.moved(share),
        used_bytes=search.measured(share),
        counted_bytes=search.counted,
    )


def _room_without_experts(model, measure, free_bytes, margins):
    """Bytes left on all devices together with every layer on them and every expert on the host."""
    moved = {index: (layer.expert_bytes, None) for index, layer in enumerate(model.layers) if layer.expert_bytes}
    return sum(free_bytes) - sum(margins) - sum(measure(free_bytes, None, moved))


class _Share:
    """How many layers each device has, while the fit searches.

    Attributes:
        layers: per device, all that begin there.
        parts: per device, how many of those have weights elsewhere.
        kinds: per device, which weights of its first such layer are elsewhere; of all others it is their experts.
        targets: per device, where those of the first are (a device, or None for the host); of all others on the host.
        start: the first device that still has such layers to make whole.
    """

    def __init__(self, count: int) -> None:
        self.layers, self.parts = [0] * count, [0] * count
        self.kinds, self.targets = [EXPERTS] * count, [None] * count
        self.start = 0

    def copy(self) -> _Share:
        """A share that can be changed on its own."""
        other = _Share(0)
        other.layers, other.parts = list(self.layers), list(self.parts)
        other.kinds, other.targets = list(self.kinds), list(self.targets)
        other.start = self.start
        return other

    def full(self, device: int) -> int:
        """Number of whole layers of a device."""
        return self.layers[device] - self.parts[device]


class _Fit:
    """The search.

    Counts are found by the method of false position, as llama.cpp does: where a size does not grow evenly with the
    layers, another search could end elsewhere.

    Args:
        model: the ModelFacts.
        measure: bytes per device of a layout.
        limits: bytes that may be used on each device.
    """

    def __init__(self, model: ModelFacts, measure: Measure, limits: List[int]) -> None:
        self.model, self.measure, self.limits = model, measure, limits
        self.count, self.blocks = len(limits), model.block_count
        self.overflow = Overflow(model)
        self.experts = bool(model.expert_count)
        self.share = _Share(self.count)
        self.sizes = [0] * self.count
        self.counted = [0] * self.count

    def measured(self, share: _Share) -> List[int]:
        """Bytes used per device."""
        if sum(share.layers) <= 0:
            return [0] * self.count
        return self.measure(share.layers, sum(share.layers), self.moved(share))

    def moved(self, share: _Share) -> weights.Moved:
        """Weights that are elsewhere than their layer: {layer: (bytes, device or None)}.

        llama.cpp counts the whole layers of a device first. On the last device the output layer is among those, so the
        others end one past the last block, which matches nothing.
        """
        result: weights.Moved = {}
        layer = self.blocks + 1 - sum(share.layers)
        for device in range(self.count):
            layer += share.full(device)
            for index in range(share.parts[device]):
                if 0 <= layer + index < self.blocks:
                    kind, target = (share.kinds[device], share.targets[device]) if index == 0 else (EXPERTS, None)
                    result[layer + index] = (self.overflow.bytes(layer + index, kind), target)
            layer += share.parts[device]
        return result

    def accept(self, share: _Share, sizes: List[int]) -> None:
        """Go on from this share."""
        self.share, self.sizes = share, sizes

    def fill_back_to_front(self) -> None:
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

    def fill_front_to_back(self) -> None:
        """Make layers whole, from the first device on, taking them from the devices behind."""
        self.share.start = next(device for device in range(self.count) if self.share.layers[device])
        device = 0
        while device <= self.share.start < self.count:
            self._full_layers(device)
            self._one_part_more(device)
            self.counted[device] = self.sizes[device]
            device += 1

    def _full_layers(self, device):
        """Give a device as many whole layers as fit."""
        high = self.share.copy()
        for behind in range(high.start, self.count):
            moving = high.layers[behind] - (behind == self.count - 1)
            high.layers[device] += moving
            high.layers[behind] -= moving
            high.parts[behind] = 0
        high.start = self.count - 1
        self._search(device, high, lambda share: share.full(device), lambda step: self._converted(device, step))

    def _converted(self, device, amount):
        """The share after `amount` layers without their experts became whole layers of a device."""
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
        """Give a device one more layer, with as few of its weights as possible on the next device or the host."""
        last, start = device == self.count - 1, self.share.start
        if start >= self.count or self.share.layers[start] <= last:
            return
        trial = self.share.copy()
        # Where the device behind has only the output layer, llama.cpp takes that: minus one part remains there.
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


class Overflow:
    """Bytes of a layer that are elsewhere, by kind: tensors that llama.cpp's patterns match (`get_overflow_pattern`).

    A pattern takes everything whose name begins alike: gate also the router and the shared experts' gate.
    """

    def __init__(self, model: ModelFacts) -> None:
        self.layers = model.layers
        # Where only the experts are known: up and gate have one type in all layers; where types differ, down is larger.
        sizes = [layer.expert_bytes for layer in self.layers]
        self.matrix = min([size for size in sizes if size] or [0]) // 3

    def bytes(self, index: int, kind: str) -> int:
        """Bytes of one kind of block `index`."""
        layer = self.layers[index]
        experts = layer.expert_bytes
        if kind == EXPERTS:
            return experts
        if layer.ffn_down_bytes is None:
            return experts - {FEED_FORWARD: 0, GATE_AND_DOWN: 1, DOWN: 2}[kind] * self.matrix
        parts = {FEED_FORWARD: ("up", "gate", "down"), GATE_AND_DOWN: ("gate", "down"), DOWN: ("down",)}[kind]
        return sum(getattr(layer, "ffn_%s_bytes" % part) for part in parts)
