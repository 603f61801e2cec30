# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers: what each device holds for the intermediate values of one batch.

llama.cpp allocates one buffer a device when it loads a model: it builds the graph of a full batch, cuts it into the
parts of the devices and lets its allocator place every value. The same is done here (graph/), so that the bytes follow
from the model's tensors, whatever the architecture. An architecture that is not known is estimated on the safe side.
"""

from __future__ import annotations

from . import kv_cache, rough, weights
from .graph import build, kinds
from .graph.reserve import COPIES

ESTIMATE_PERCENT = 125  # of the larger of two estimates, where the architecture is not known
# A cell and token: fitted to the engine's dry run of deepseek32 (build 11669), not derived; seven contexts and batches that were not
# used for it came out between 376 MiB below and 25 % above. What follows from it is marked as estimated.
INDEXER_BYTES = 6
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
    unified=False,
    outputs=None,
    op_offload=False,
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
        unified: whether the slots share one stream of the KV cache (kv_cache.cells).
        outputs: rows of logits that the engine keeps room for; None = one for every token of a batch, as llama-fit-params and older
            servers do. llama-server of build 11669 keeps one a slot (tools/server, `n_outputs_max`), which is less.
        op_offload: whether the first device computes large batches for the weights on the host, on copies of them: what CUDA does unless
            --no-op-offload is given (ggml-cuda.cu `ggml_backend_cuda_device_offload_op`), and a device without that function (RPC) does not.

    Returns:
        list of device_count integers (bytes); 0 for a device without a layer, unless it computes for the host.
    """
    moved = dict(moved or {})
    found = kinds.kinds_of(model)
    key = (
        kinds.mark(model, found),
        tuple(slots_to_device),
        device_count,
        context_length,
        parallel,
        ubatch,
        flash_attention,
        cache_type,
        unified,
        outputs,
        tuple(sorted(moved.items(), key=repr)),
        kinds.Sizes(model, found).mark() if op_offload else None,
    )
    if key not in _answers:
        if len(_answers) >= REMEMBERED:
            _answers.clear()
        _answers[key] = _compute(
            model,
            found,
            list(slots_to_device),
            device_count,
            context_length,
            parallel,
            ubatch,
            flash_attention,
            cache_type,
            moved,
            unified,
            outputs,
            op_offload,
        )
    return list(_answers[key])


def is_estimated(model):
    """Whether the compute buffers of this model are a careful estimate: its architecture is not known, or its tensors are not."""
    return not kinds.kinds_of(model) or not build.traits_of(model, kinds.kinds_of(model))["known"]


def scratch_by_device(model, slots_to_device, device_count, *settings, **more):
    """Bytes by which the compute buffer of every device grows because the first one computes for the host, >= 0; arguments as compute_by_device."""
    if not uses_host(slots_to_device, more.get("moved")) or not device_count:
        return [0] * device_count
    without = compute_by_device(model, slots_to_device, device_count, *settings, **more)
    grown = compute_by_device(model, slots_to_device, device_count, *settings, op_offload=True, **more)
    return [max(0, after - before) for before, after in zip(without, grown)]


def uses_host(slots_to_device, moved):
    """Whether weights that a batch is multiplied with lie on the host."""
    return None in slots_to_device or any(target is None for dummy, target in (moved or {}).values())


def _compute(
    model,
    found,
    slots,
    device_count,
    context_length,
    parallel,
    ubatch,
    flash_attention,
    cache_type,
    moved,
    unified,
    outputs,
    op_offload,
):
    if not device_count:
        return []
    window = kv_cache.window_tokens(model)
    cells = tuple(kv_cache.cells(context_length, parallel, ubatch, size, unified)[0] for size in (None, window))
    streams = 1 if unified else parallel
    batch = min(ubatch, cells[0] * streams)
    graph = None
    if found:
        try:
            graph = build.buffers(
                model,
                found,
                slots,
                device_count,
                cells,
                parallel,
                batch,
                flash_attention,
                cache_type,
                moved,
                streams,
                outputs,
                kinds.Sizes(model, found) if op_offload else None,
            )[:device_count]
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, AttributeError, AssertionError):
            graph = None  # tensors or dimensions that no block of a known architecture has
    if graph is not None and not is_estimated(model):
        return [size if device in slots or size else 0 for device, size in enumerate(graph)]
    if graph is not None and model.architecture in kv_cache.UNCACHED:
        return [
            size * ESTIMATE_PERCENT // 100 for size in graph
        ]  # no logits and no cache, which the rules of thumb count
    careful = rough.compute_by_device(
        model, slots, device_count, context_length, parallel, batch, flash_attention, cache_type, moved, unified
    )
    if op_offload:
        # The first device then works like one that holds the host's layers, and beside that on copies of weights and of a layer's cache.
        slots = [0 if device is None else device for device in slots]
        whole = rough.compute_by_device(
            model, slots, device_count, context_length, parallel, batch, flash_attention, cache_type, moved, unified
        )
        cached = kv_cache.kv_by_layer(
            model, context_length, parallel, ubatch, cache_type, None, flash_attention, unified
        )
        careful[0] = max(careful[0], whole[0] + weights.largest_matrix(model) + max(cached or [0]))
    sizes = [max(pair) * ESTIMATE_PERCENT // 100 for pair in zip(careful, graph or careful)]
    if model.architecture in kv_cache.INDEXED:
        # Its indexer scores every cell for every token (32 bit), sorts them, and has a mask of its own, which a pipeline keeps in copies.
        scores = cells[0] * batch * (INDEXER_BYTES + 2 * (COPIES if device_count > 1 else 1))
        sizes = [size + scores if device in slots else size for device, size in enumerate(sizes)]
    return sizes
