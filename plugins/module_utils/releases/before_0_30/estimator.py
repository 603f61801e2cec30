# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The estimator of Ollama to 0.12.10: how many layers a list of GPUs takes (`EstimateGPULayers` of llm/memory.go).

From 0.7.0 on layers are dealt from the last to the first, round robin over the GPUs that still have room; before, from
the first to the last. Read at 0.5.13, 0.11.4, 0.11.10 and 0.12.10; recorded decisions of 0.11.4, 0.11.10 and 0.12.10.
"""

from __future__ import annotations

from ...memory.weights import float32 as f32
from . import engines, graph_sizes
from .dimensions import MIB

MINIMUM_BYTES = 457 * MIB  # what Ollama keeps for the context of a CUDA or ROCm GPU
BACK_TO_FRONT_SINCE = (0, 7, 0)
VISION_WITH_OUTPUT_SINCE = (0, 7, 1)  # before, vision weights and graph lie on the first GPU, as a projector does
LARGEST_GROUP_AS_BUFFER = (
    0,
    7,
    0,
)  # this release alone keeps the largest group of tensors free on a GPU, not the first block
VARIANTS_UNTIL = (0, 12, 7)  # before, cuda_v11 and cuda_v12 GPUs are never used together


class Load:
    """One load as the estimators see it.

    Args:
        dims: Dimensions of the model.
        version: Ollama version as a tuple.
        num_gpu: layers asked for; -1 = automatic.
        batch: tokens.
        parallel: slots.
        overhead_bytes: OLLAMA_GPU_OVERHEAD.
        projector_bytes: weights of a projector in a file of its own.
        environment: the service environment (flash attention, cache type).
        discovered: all GPUs of the host (flash attention needs all of them before 0.12.4).
    """

    def __init__(
        self, dims, version, num_gpu, batch, parallel, overhead_bytes, projector_bytes, environment, discovered
    ):
        self.dims, self.version, self.num_gpu, self.batch, self.parallel = dims, version, num_gpu, batch, parallel
        self.overhead_bytes, self.projector_bytes = overhead_bytes, projector_bytes
        self.environment, self.discovered = environment, discovered

    def flash(self, gpus):
        """Whether the estimate for these GPUs counts on flash attention."""
        wanted = engines.flash_wanted(self.dims, self.version, self.environment)[0]
        checked = gpus if self.version >= engines.FLASH_OF_LISTED_GPUS else self.discovered
        return (
            wanted and engines.flash_on_gpus(checked, self.version) and engines.flash_for_model(self.dims, self.version)
        )


def estimate(load, gpus, context):
    """Layers and bytes of a list of GPUs, or of the CPU.

    Args:
        load: Load.
        gpus: list of dicts (free_bytes, library, optional minimum_bytes); all of one library. [] estimates the CPU.
        context: tokens: of all slots together to 0.11.4, of one slot from 0.11.5 on.

    Returns:
        dict: `layers` (their sum), `split` (per GPU), `gpu_sizes`, `vram_size`, `total_size`, `overflow`, `graph`,
        `graph_full`, `graph_partial`, `kv`, `fully_offloaded`; bytes, as Ollama's log shows them.
    """
    dims = load.dims
    vision_bytes, vision_graph_bytes = (0, 0) if load.projector_bytes else graph_sizes.vision_graph(dims)
    first_gpu_bytes = load.projector_bytes
    if load.version < VISION_WITH_OUTPUT_SINCE:
        first_gpu_bytes, vision_bytes, vision_graph_bytes = first_gpu_bytes + vision_bytes + vision_graph_bytes, 0, 0
    batch = min(context, load.batch)
    flash = load.flash(gpus)
    cache = engines.cache_type(dims, load.version, load.environment) if flash else ""
    total_context = context * load.parallel if load.version >= graph_sizes.PARALLEL_IN_GRAPH_SINCE else context
    kv, partial, full = graph_sizes.graph_size(dims, total_context, batch, load.parallel, cache, flash, load.version)
    partial, full = graph_sizes.complete_graphs(dims, kv, partial, full)
    if len(gpus) > 1:
        full = partial  # several GPUs always count the partial graph
    largest = max(partial, full)
    first_layer = dims.block_bytes[0] + kv[0] if kv else 0
    if load.version == LARGEST_GROUP_AS_BUFFER:
        first_layer = dims.largest_group_bytes + (kv[0] if kv else 0)
    sizes, space = _with_space(load, gpus, largest, first_layer, first_gpu_bytes)
    if space:
        sizes[space[0]] += first_gpu_bytes
    overflow = 0 if space else first_gpu_bytes

    def fits(place, size):
        return gpus[place]["free_bytes"] > load.overhead_bytes + sizes[place] + largest + size

    split, count = [0] * len(gpus), 0
    order = range(dims.blocks - 1, -1, -1) if load.version >= BACK_TO_FRONT_SINCE else range(dims.blocks)
    for index in order:
        size = dims.block_bytes[index] + kv[index]
        if 0 <= load.num_gpu <= count:
            overflow += size
            continue
        for among in range(len(space), 0, -1):
            place = space[index % among]
            if fits(place, size):
                sizes[place] += size
                split[place] += 1
                count += 1
                break
            del space[index % among]
        if not space:
            overflow += size
    complete = count >= dims.blocks
    last = dims.output_bytes + vision_bytes + vision_graph_bytes
    if last:
        if load.num_gpu < 0 or count < load.num_gpu:
            for among in range(len(space), 0, -1):
                place = space[count % among]
                if fits(place, last):
                    sizes[place] += last
                    split[place] += 1
                    count += 1
                    break
        if count < dims.blocks + 1:
            complete = False
            overflow += last
    graph = full if complete else partial
    sizes = [size + graph if layers else size for size, layers in zip(sizes, split)]
    found = {
        "layers": 0,
        "split": [],
        "gpu_sizes": [],
        "vram_size": 0,
        "graph": 0,
        "total_size": sum(sizes) + overflow,
        "graph_full": full,
        "graph_partial": partial,
        "kv": sum(kv),
        "fully_offloaded": False,
    }
    if count and not (gpus and gpus[0].get("library") == "cpu"):
        found.update(
            layers=count, split=split, gpu_sizes=sizes, vram_size=sum(sizes), graph=graph, fully_offloaded=complete
        )
    found["overflow"] = found["total_size"] - found["vram_size"]
    return found


def _with_space(load, gpus, graph, layer, first_gpu_bytes):
    """(bytes taken per GPU before any layer, positions of the GPUs that have room for two layers)."""
    sizes, space = [0] * len(gpus), []
    for place, gpu in enumerate(gpus):
        minimum = gpu.get("minimum_bytes", MINIMUM_BYTES)
        first = 0 if space else first_gpu_bytes
        if gpu["free_bytes"] < load.overhead_bytes + first + graph + minimum + 2 * layer:
            continue
        space.append(place)
        sizes[place] = minimum + layer
    return sizes, space


def fits_fully(load, gpus, context):
    """(whether as many layers fit as are wanted, estimated bytes): `PredictServerFit`.

    With num_gpu above the number of layers this is never true, so that the partial path takes all GPUs.
    """
    found = estimate(load, gpus, context)
    wanted = load.dims.blocks + 1 if load.num_gpu < 0 else load.num_gpu
    return found["layers"] > 0 and found["layers"] >= wanted, found["vram_size"]


def by_library(gpus, version):
    """Positions of the GPUs grouped by library (and, before 0.12.7, its variant), in order of first appearance."""
    groups = {}
    for place, gpu in enumerate(gpus):
        name = (gpu.get("library") or "CUDA", "" if version >= VARIANTS_UNTIL else gpu.get("variant") or "")
        groups.setdefault(name, []).append(place)
    return list(groups.values())


def most_free_first(gpus, places):
    """Positions sorted by free memory, most first; ties keep their order; integrated GPUs last."""
    return sorted(places, key=lambda place: (bool(gpus[place].get("integrated")), -gpus[place]["free_bytes"]))


def best_partial(load, gpus, context):
    """Positions for a load that does not fit: all GPUs in discovery order, of the library that takes most bytes."""
    groups = by_library(gpus, load.version)
    if len(groups) <= 1:
        return list(range(len(gpus)))
    best, most = groups[0], 0
    for group in groups:
        size = fits_fully(load, [gpus[place] for place in group], context)[1]
        if size > most:
            best, most = group, size
    return best


def deal(split, blocks, num_gpu):
    """Layers per GPU as sent to the runner (`createGPULayers`, 0.11.5 to 0.12.10).

    The last `num_gpu` layers, contiguous, in the proportion of the estimate's split; with num_gpu above what the
    estimate found they are dealt all the same (over-commit).

    Returns:
        list of lists of layer numbers, one a GPU.
    """
    dealt = [[] for dummy in split]
    total = sum(split)
    if num_gpu <= 0 or total <= 0:
        return dealt
    sums, running = [], 0
    for count in split:
        running += count
        sums.append(f32(f32(running) / f32(total)))
    start = max(0, blocks - num_gpu)
    stop = min(start + num_gpu, blocks + 1)
    for layer in range(start, stop):
        share = f32(f32(layer - start) / f32(stop - start))
        place = next((index for index, bound in enumerate(sums) if share < bound), None)
        if place is not None:
            dealt[place].append(layer)
    return dealt
