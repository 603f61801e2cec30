# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers: what each device holds for the intermediate values of one batch. Pure.

llama.cpp allocates one buffer per device when it loads a model: it builds the graph of a full batch, cuts it into the
parts of the devices and lets its allocator place every value. The same is done here (graph/), so that the bytes follow
from the model's tensors, whatever the architecture. An architecture that is not known is estimated on the safe side.
"""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence

from ..model import architecture
from ..model.schema import ModelFacts
from . import kv_cache, rough_estimate, weights
from .graph import compute_graph, kinds
from .graph.reserve import COPIES
from .graph.tensors import F32
from .graph.traits import traits_of
from .load import Load
from .remembered import Remembered

ESTIMATE_PERCENT = 125  # of the larger of two estimates, where the architecture is not known
# Per cell and token: fitted to the engine's dry run of deepseek32 (build 11669), not derived; _indexed_attention is the
# least. The result is marked as estimated.
INDEXER_BYTES = 6
# Batches of states that the first, a middle and the last device of a pipeline hold: dry runs of rwkv6 and rwkv7 by the
# engine (build 11669) over two to four devices, with batches of 512 to 2048 and one to four slots.
_PIPELINED = {"rwkv6": (30.5, 33.5, 29.5), "rwkv7": (35.5, 40.5, 36.5)}
_PIPELINED.update(rwkv6qwen2=_PIPELINED["rwkv6"], arwkv7=_PIPELINED["rwkv7"])


def compute_by_device(
    model: ModelFacts,
    layer_devices: Sequence[Optional[int]],
    device_count: int,
    load: Load,
    moved: Optional[weights.Moved] = None,
) -> List[int]:
    """Bytes of the compute buffer of every device.

    Args:
        model: the ModelFacts.
        layer_devices: device index (or None = host) of every layer, as weights.assign_layers gives it.
        device_count: number of devices that the engine sees, those without a layer included.
        load: the Load. With `op_offload` the buffer of the first device also holds what it needs to compute for the
            weights on the host.
        moved: {layer: (bytes, device or None)}: feed-forward weights that are elsewhere than their layer (llama.cpp's
            tensor overrides); any switch the pipeline off.

    Returns:
        list of device_count integers (bytes); 0 for a device without a layer, unless it computes for the host.
    """
    return _buffers(model, layer_devices, device_count, load, moved)[:device_count]


def compute_on_host(
    model: ModelFacts,
    layer_devices: Sequence[Optional[int]],
    device_count: int,
    load: Load,
    moved: Optional[weights.Moved] = None,
) -> int:
    """Bytes of the host's compute buffer, which is pinned where there are devices.

    It holds the token embeddings of a batch and the masks, and what layers on the host compute. Takes the arguments of
    compute_by_device. Within 1 MiB of the engine's own figure (column Host of engine-table.jsonl).
    """
    return _buffers(model, layer_devices, device_count, load, moved)[-1]


def _buffers(
    model: ModelFacts,
    layer_devices: Sequence[Optional[int]],
    device_count: int,
    load: Load,
    moved: Optional[weights.Moved],
) -> List[int]:
    """Bytes of the compute buffer of every device and, last, of the host; answers are remembered."""
    return _answers.of(model, kinds.kinds_of(model), layer_devices, device_count, load, moved)


def is_estimated(model: ModelFacts) -> bool:
    """Whether the compute buffers are a careful estimate: architecture or tensors of the model are not known."""
    found = kinds.kinds_of(model)
    return not found or not traits_of(model, found).known


def scratch_by_device(
    model: ModelFacts,
    layer_devices: Sequence[Optional[int]],
    device_count: int,
    load: Load,
    moved: Optional[weights.Moved] = None,
) -> List[int]:
    """Bytes by which the compute buffer of every device grows because the first one computes for the host, >= 0.

    Takes the arguments of compute_by_device, whatever `load.op_offload` is.
    """
    if not uses_host(layer_devices, moved) or not device_count:
        return [0] * device_count
    without, grown = (
        compute_by_device(model, layer_devices, device_count, dataclasses.replace(load, op_offload=offload), moved)
        for offload in (False, True)
    )
    return [max(0, after - before) for before, after in zip(without, grown)]


def uses_host(layer_devices: Sequence[Optional[int]], moved: Optional[weights.Moved]) -> bool:
    """Whether weights that a batch is multiplied with are on the host."""
    return None in layer_devices or weights.on_host(moved)


def _compute(
    model: ModelFacts,
    found: list,
    layer_devices: List[Optional[int]],
    device_count: int,
    load: Load,
    moved: weights.Moved,
) -> List[int]:
    """What _buffers gives; `found`: the tensors of every block (kinds.kinds_of)."""
    graph = None
    if found:
        try:
            graph = compute_graph.buffers(model, found, layer_devices, device_count, load, moved)
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, AttributeError, AssertionError):
            graph = None  # tensors or dimensions that no block of a known architecture has
    if graph is not None and not is_estimated(model):
        return graph
    if graph is not None and model.architecture in architecture.UNCACHED:
        # No logits and no cache, which the rules of thumb count.
        return [size * ESTIMATE_PERCENT // 100 for size in graph]
    devices = _careful(model, graph and graph[:device_count], layer_devices, device_count, load, moved)
    return devices + [_careful_host(model, graph, layer_devices, load, moved)]


_answers = Remembered(_compute, 4096)


def _careful_host(
    model: ModelFacts, graph: Optional[List[int]], layer_devices: List[Optional[int]], load: Load, moved: weights.Moved
) -> int:
    """The host's part of _careful: it holds for its layers what a device would, and the inputs of all others.

    Inputs are a mask over the context and the embeddings of the batch, in copies where a pipeline can be.
    """
    own = rough_estimate.compute_by_device(
        model, [0 if device is None else None for device in layer_devices], 1, load, moved
    )[0]
    masks = rough_estimate.mask_bytes(model, list(range(model.block_count)), load)
    inputs = COPIES * (masks + F32 * load.batch * model.embedding_length)
    return max(own, inputs, graph[-1] if graph else 0) * ESTIMATE_PERCENT // 100


def _careful(
    model: ModelFacts,
    graph: Optional[List[int]],
    layer_devices: List[Optional[int]],
    device_count: int,
    load: Load,
    moved: weights.Moved,
) -> List[int]:
    """The larger of the graph's bytes (None where none could be built) and the rules of thumb, and a quarter more."""
    careful = rough_estimate.compute_by_device(model, layer_devices, device_count, load, moved)
    if load.op_offload and device_count:
        # The first device then works like one that has the host's layers, on copies of weights and of a layer's cache.
        layer_devices = [0 if device is None else device for device in layer_devices]
        whole = rough_estimate.compute_by_device(model, layer_devices, device_count, load, moved)
        cached = kv_cache.kv_by_layer(model, load)
        careful[0] = max(careful[0], whole[0] + weights.largest_matrix(model) + max(cached or [0]))
    sizes = [max(pair) * ESTIMATE_PERCENT // 100 for pair in zip(careful, graph or careful)]
    if model.architecture in architecture.INDEXED:
        # Its indexer scores every cell for every token (32 bit), sorts the scores, and has a mask of its own, which a
        # pipeline keeps in copies.
        scores = load.cells * load.batch * (INDEXER_BYTES + 2 * (COPIES if device_count > 1 else 1))
        least = _indexed_attention(model, load)
        sizes = [max(size + scores, least) if device in layer_devices else size for device, size in enumerate(sizes)]
    if model.architecture in _PIPELINED and None not in layer_devices and not moved:
        sizes = _of_pipeline(model, sizes, layer_devices, load)
    return sizes


def _of_pipeline(model: ModelFacts, sizes: List[int], layer_devices: Sequence[Optional[int]], load: Load) -> List[int]:
    """The sizes, at least as large as those of a pipeline of recurrent blocks: copies of what goes from one to the next
    device count most."""
    used = sorted({device for device in layer_devices if device is not None})
    if len(used) < 2:
        return sizes
    first, middle, last = _PIPELINED[model.architecture]
    batch = F32 * load.batch * model.embedding_length
    units = {device: middle for device in used}
    units.update({used[0]: first, used[-1]: last})
    return [max(size, int(units.get(device, 0) * batch)) for device, size in enumerate(sizes)]


def _indexed_attention(model: ModelFacts, load: Load) -> int:
    """Bytes that latent attention behind an indexer holds at once for a batch, on a single device.

    These are the queries before and after they are absorbed, queries beside their rope part and results, each twice,
    and a value for every cell. Once the scores of the cells are larger than the queries were, they do not fit into the
    place of these, and results or scores are there once more. Found with 28 contexts of the engine's dry run of
    deepseek32 (build 11669); those and others come out up to 3 % above the engine where this is the largest.
    """
    heads, rank, rope = max(model.head_count), model.kv_lora_rank or 0, model.rope_dimension_count or 0
    key = model.key_length_mla or model.key_length or 0
    beside = max(heads * rank, load.cells) if load.cells > heads * key else 0
    return load.batch * F32 * (2 * heads * (key + rank + rope + rank) + load.cells + beside)
