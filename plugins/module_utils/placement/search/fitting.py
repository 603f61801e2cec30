# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One model on one set of GPUs: what it takes there, and whether it fits with the headroom kept."""

from __future__ import annotations

from ...common import engine_variables
from ...memory import estimate as memory
from ...memory import overhead, weights
from ...memory.load import Load
from . import confirm

NO_FLASH = "A KV cache of type %s needs flash attention, which Ollama %s does not use on GPUs as old as one of these; f16 works there"


class Fitting:
    """How a version's batch rule, the overhead and the free memory turn a wanted model into bytes per GPU.

    Args:
        release: the Release planned for.
        overhead_bytes: measured context overhead per process and GPU, or None for the table's figure.
        variables: the user's checked service variables; releases before 0.30 heed some of them (OLLAMA_GPU_OVERHEAD).
    """

    def __init__(self, release, overhead_bytes=None, variables=None):
        self.release = release
        self.overhead_bytes = overhead_bytes
        self.variables = variables or {}
        self.unified = release.reads_engine_variables and engine_variables.unified(self.variables)

    def estimate(self, wanted, gpus, shares, free, context_length, gpu_layers=None, moved=None):
        """(memory.estimate of a wanted model, batch), with the flash attention and the batch that the release takes on these GPUs."""
        flash = self.release.flash_attention(wanted["flash_attention"], gpus)
        ubatch = self.release.batch(wanted["facts"], wanted["ubatch"], context_length, wanted["parallel"], free, flash)[
            0
        ]
        load = self.load(wanted, context_length, ubatch, flash != "off")
        return memory.estimate(wanted["facts"], shares, load, gpu_layers, moved), ubatch

    def load(self, wanted, context_length, ubatch, flash_attention=True):
        """The Load of a wanted model."""
        return Load(
            context_length=context_length,
            parallel=wanted["parallel"],
            ubatch=ubatch,
            cache_type=wanted["kv_cache_type"] or "f16",
            flash_attention=flash_attention,
            unified=self.unified,
            op_offload=True,
        )

    def predict(self, wanted, gpus, free, context_length, tensor_split=None, gpu_layers=None, moved=None):
        """What a model takes on a set of GPUs, laid out as the plan's `predicted`.

        Args:
            wanted: a checked model of request.
            gpus: list of GPUs, in PCI order.
            free: bytes that each of them has for this model.
            context_length: tokens.
            tensor_split: layers per GPU to insist on, or None for the engine's split by free memory.
            gpu_layers: slots to offload, None = all.
            moved: weights that lie elsewhere than their layer, as memory.estimate takes it.
        """
        estimated, ubatch = self.estimate(wanted, gpus, tensor_split or free, free, context_length, gpu_layers, moved)
        devices = []
        for gpu, size, device in zip(gpus, free, estimated.devices):
            held = overhead.context_overhead(gpu["architecture"], self.overhead_bytes)[0]
            total = device.engine_bytes + device.projector_bytes + held
            devices.append(
                {
                    "uuid": gpu["uuid"],
                    "layers": device.layers,
                    "weight_bytes": device.weight_bytes,
                    "kv_bytes": device.kv_bytes,
                    "compute_bytes": device.compute_bytes,
                    "offload_scratch_bytes": device.offload_scratch_bytes,
                    "projector_bytes": device.projector_bytes,
                    "overhead_bytes": held,
                    "total_bytes": total,
                    "room_bytes": size,
                }
            )
        return {
            "gpu_layers": estimated.gpu_layers,
            "total_layers": estimated.total_layers,
            "fully_on_gpu": estimated.gpu_layers == estimated.total_layers and not weights.on_host(moved),
            "host_bytes": estimated.host_bytes,
            "ubatch": ubatch,
            "context_length": context_length,
            "headroom_bytes": wanted["headroom_bytes"],
            "devices": devices,
        }

    def may_fit(self, wanted, gpus, free, context_length, allowance=0):
        """Whether weights and KV cache alone leave the question open: a quick no, before the compute buffers are worked out."""
        kept = wanted["headroom_bytes"] - allowance
        rooms = [
            size - kept - overhead.context_overhead(gpu["architecture"], self.overhead_bytes)[0]
            for gpu, size in zip(gpus, free)
        ]
        return min(rooms) >= 0 and self.bare_bytes(wanted, context_length) <= sum(rooms)

    def bare_bytes(self, wanted, context_length):
        """Bytes of weights, KV cache and projector, whatever the GPUs: less than what the model takes."""
        return sum(self._layer_bytes(wanted, context_length, 1)) + wanted["facts"].projector_bytes

    def place(self, wanted, gpus, free, context_length, every_gpu=False, allowance=0, settled=False):
        """Lay a model over exactly these GPUs.

        Args:
            every_gpu: whether each GPU must get at least one layer (strategies split and spread).
            allowance: bytes of the headroom that may be missing (0 but for a model that runs there already).
            settled: whether it runs there already, so that how the engine split it is not to be changed without need.

        Returns:
            dict: `gpus`, `predicted`, `tensor_split` (None, or layers per GPU where the engine's own split by free
            memory would not fit, or might not after a small change of it, but this one does), `batch` (None, or the
            batch to insist on where the one that Ollama would choose does not fit), `shortfall_bytes` (0 if it fits
            with the headroom kept), `refusal` (why it cannot be although no bytes are missing; only then).
        """
        placed = self._place(wanted, gpus, free, context_length, every_gpu, allowance, settled)
        if self.lacks_flash(wanted, gpus):
            return dict(
                placed,
                shortfall_bytes=max(placed["shortfall_bytes"], 1),
                refusal=NO_FLASH % (wanted["kv_cache_type"], self.release.version),
            )
        if not placed["shortfall_bytes"] or wanted["ubatch"]:
            return placed
        devices = placed["predicted"]["devices"]
        kept = placed["predicted"]["headroom_bytes"] - allowance
        missing = sum(
            device["total_bytes"] + kept - device["room_bytes"] for device in devices
        )  # of all GPUs together, however split
        for batch in self.release.smaller_batches:
            # Compute buffers grow with the batch: a smaller one cannot save more than they are.
            if batch < placed["predicted"]["ubatch"] and missing < sum(device["compute_bytes"] for device in devices):
                smaller = self._place(
                    dict(wanted, ubatch=batch), gpus, free, context_length, every_gpu, allowance, settled
                )
                if not smaller["shortfall_bytes"]:
                    return dict(smaller, batch=batch, lowered=True)
        return placed

    def lacks_flash(self, wanted, gpus):
        """Whether the engine would end with "quantized V cache requires flash_attn to be enabled" on these GPUs."""
        flash = self.release.flash_attention(wanted["flash_attention"], gpus)
        return self.release.refuses_cache_type(wanted["kv_cache_type"] or "f16", flash)

    def _place(self, wanted, gpus, free, context_length, every_gpu, allowance, settled):
        predicted = self.predict(wanted, gpus, free, context_length)
        placed = {
            "gpus": gpus,
            "predicted": predicted,
            "tensor_split": None,
            "batch": None,
            "shortfall_bytes": shortfall(predicted, allowance),
        }
        if not self.release.layers_can_be_set:
            return confirm.confirmed(self, wanted, placed, allowance)
        good = self._good(placed, every_gpu)
        if len(gpus) < 2 or (good and (settled or self._holds_a_layer_more(wanted, placed, context_length))):
            return placed
        counts = self.balanced(wanted, gpus, free, context_length, allowance)
        if counts:
            other = self.predict(wanted, gpus, free, context_length, counts)
            balanced = dict(placed, predicted=other, tensor_split=counts, shortfall_bytes=shortfall(other, allowance))
            if self._good(balanced, every_gpu):
                return balanced
        if good:
            return dict(placed, tensor_split=[device["layers"] for device in predicted["devices"]])
        if not placed["shortfall_bytes"]:
            return dict(placed, shortfall_bytes=1, refusal=confirm.NO_LAYER)
        return placed

    @staticmethod
    def _good(placed, every_gpu):
        layers = [device["layers"] for device in placed["predicted"]["devices"]]
        return not placed["shortfall_bytes"] and (not every_gpu or all(layers))

    def _holds_a_layer_more(self, wanted, placed, context_length):
        """Whether every GPU would hold its largest layer once more: then it does not matter which way the engine's split
        tips when a little memory comes or goes before it loads."""
        predicted = placed["predicted"]
        spare = min(
            device["room_bytes"] - device["total_bytes"] - predicted["headroom_bytes"]
            for device in predicted["devices"]
        )
        return spare >= max(self._layer_bytes(wanted, context_length, predicted["ubatch"]))

    def balanced(self, wanted, gpus, free, context_length, allowance=0):
        """Layers per GPU such that the fullest GPU is as empty as it can be, or None if no such split fits.

        Layers are contiguous, so for a given limit (a share of each GPU's room) filling from the first GPU is exact;
        the smallest limit that places all layers is found by bisection.
        """
        fixed, sizes = self._parts(wanted, gpus, free, context_length)
        rooms = [size - (wanted["headroom_bytes"] - allowance) - part for size, part in zip(free, fixed)]

        def fill(limit):
            counts = []
            start = 0
            for index, room in enumerate(rooms):
                left = len(rooms) - index - 1
                budget = (room + fixed[index]) * limit - fixed[index]
                used = count = 0
                while start < len(sizes) - left and used + sizes[start] <= budget:
                    used += sizes[start]
                    start += 1
                    count += 1
                if not count:
                    return None
                counts.append(count)
            return counts if start == len(sizes) else None

        best = fill(1.0)
        if best is None:
            return None
        low, high = 0.0, 1.0
        for dummy in range(20):
            middle = (low + high) / 2
            counts = fill(middle)
            if counts is None:
                low = middle
            else:
                high, best = middle, counts
        return best

    def _parts(self, wanted, gpus, free, context_length):
        """(bytes of each GPU that do not depend on its layers, bytes of each layer with its KV cache)."""
        even = self.predict(wanted, gpus, free, context_length, [1] * len(gpus))
        fixed = [
            device["compute_bytes"] + device["projector_bytes"] + device["overhead_bytes"] for device in even["devices"]
        ]
        return fixed, self._layer_bytes(wanted, context_length, even["ubatch"])

    def _layer_bytes(self, wanted, context_length, ubatch):
        """Bytes of each layer with its KV cache, the output layer last."""
        return memory.layer_bytes(wanted["facts"], self.load(wanted, context_length, ubatch))


def shortfall(predicted, allowance=0):
    """Bytes missing on the GPUs of a prediction when the headroom (but for `allowance`) is kept, summed; 0 if it fits."""
    headroom = predicted["headroom_bytes"] - allowance
    return sum(max(0, device["total_bytes"] + headroom - device["room_bytes"]) for device in predicted["devices"])
