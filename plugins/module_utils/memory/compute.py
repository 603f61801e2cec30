# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers: what each device holds for the intermediate values of one batch.

llama.cpp allocates one buffer a device when it loads a model: it builds the graph of a full batch, cuts it into the
parts of the devices and lets its allocator place every value. The same is done here (graph/), so that the bytes follow
from the model's tensors, whatever the architecture. An architecture that is not known is estimated on the safe side.
"""

from __future__ import annotations

from . import kv_cache, rough
from .graph import build, kinds

ESTIMATE_PERCENT = 125  # of the larger of two estimates, where the architecture is not known
REMEMBERED = 4096  # answers kept; a search for the largest context asks for the same ones again and again
_answers = {}


def compute_by_device(
    model,
    slots_to_device,
    device_count,
    context_length,
    parallel=1,
    ubatch=512,
    flash_attention=True,
    cache_type=kv_cache.DEFAULT_CACHE_TYPE,
    moved=None,
):
    """Bytes of the compute buffer of every device.

    Args:
        model: dict of model_info.
        slots_to_device: device index (or None = host) of every slot, as weights.assign_layers gives it.
        device_count: number of devices that the engine sees, those without a layer included.
        context_length: tokens of one slot of the server.
        parallel: number of slots; each has a mask of its own length.
        ubatch: physical batch, tokens.
        flash_attention: whether the engine uses it.
        cache_type: KV cache type.
        moved: {slot: (bytes, device or None)}: feed-forward weights that lie elsewhere than their slot (llama.cpp's
            tensor overrides); any switch the pipeline off.

    Returns:
        list of device_count integers (bytes); 0 for a device without a layer.
    """
    moved = dict(moved or {})
    found = kinds.kinds_of(model)
    key = (kinds.mark(model, found), tuple(slots_to_device), device_count, context_length, parallel, ubatch, flash_attention, cache_type,
           tuple(sorted(moved.items(), key=repr)))
    if key not in _answers:
        if len(_answers) >= REMEMBERED:
            _answers.clear()
        _answers[key] = _compute(model, found, list(slots_to_device), device_count, context_length, parallel, ubatch, flash_attention, cache_type, moved)
    return list(_answers[key])


def is_estimated(model):
    """Whether the compute buffers of this model are a careful estimate: its architecture is not known, or its tensors are not."""
    return not kinds.kinds_of(model) or not build.traits_of(model, kinds.kinds_of(model))["known"]


def _compute(model, found, slots, device_count, context_length, parallel, ubatch, flash_attention, cache_type, moved):
    if not device_count:
        return []
    window = kv_cache.window_tokens(model)
    cells = tuple(kv_cache.cells(context_length, parallel, ubatch, size)[0] for size in (None, window))
    batch = min(ubatch, cells[0] * parallel)
    graph = None
    if found:
        try:
            graph = build.buffers(model, found, slots, device_count, cells, parallel, batch, flash_attention, cache_type, moved)[:device_count]
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, AttributeError, AssertionError):
            graph = None  # tensors or dimensions that no block of a known architecture has
    if graph is not None and not is_estimated(model):
        return [size if device in slots or size else 0 for device, size in enumerate(graph)]
    careful = rough.compute_by_device(model, slots, device_count, context_length, parallel, batch, flash_attention, cache_type, moved)
    return [max(pair) * ESTIMATE_PERCENT // 100 for pair in zip(careful, graph or careful)]
