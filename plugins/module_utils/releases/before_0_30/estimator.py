# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The estimator of Ollama to 0.12.10: how many layers a list of GPUs takes (`EstimateGPULayers` of llm/memory.go).

From 0.7.0 on layers go from the last to the first, in turn to the GPUs that still have room; before, from the first to
the last. Read at 0.5.13, 0.11.4, 0.11.10 and 0.12.10; recorded decisions of 0.11.4, 0.11.10 and 0.12.10.
"""

from __future__ import annotations

import dataclasses
from typing import Iterable, Sequence

from ...common.sizes import MIB
from ...memory.weights import float32 as f32
from ..shapes import Gpu, Version
from . import engines, graph_sizes
from .dimensions import Dimensions

MINIMUM_BYTES = 457 * MIB  # what Ollama keeps for the context of a CUDA or ROCm GPU
BACK_TO_FRONT_SINCE = (0, 7, 0)
VISION_WITH_OUTPUT_SINCE = (0, 7, 1)  # before, vision weights and graph are on the first GPU, as a projector is
# This release alone keeps the largest group of tensors free on a GPU, not the first block.
LARGEST_GROUP_AS_BUFFER = (0, 7, 0)
VARIANTS_UNTIL = (0, 12, 7)  # before, cuda_v11 and cuda_v12 GPUs are never used together


@dataclasses.dataclass(frozen=True)
class EstimatedLoad:
    """One load as the estimator sees it.

    Attributes:
        dims: the model.
        version: the Ollama version.
        num_gpu: layers asked for; -1 = automatic.
        batch: tokens.
        parallel: number of slots.
        overhead_bytes: OLLAMA_GPU_OVERHEAD.
        projector_bytes: weights of a projector in a file of its own.
        environment: the service environment (flash attention, cache type).
        discovered: all GPUs of the host (flash attention needs all of them before 0.12.4).
    """

    dims: Dimensions
    version: Version
    num_gpu: int
    batch: int
    parallel: int
    overhead_bytes: int
    projector_bytes: int
    environment: dict[str, str]
    discovered: Sequence[Gpu]

    def flash(self, gpus: Sequence[Gpu]) -> bool:
        """Whether the estimate for these GPUs counts on flash attention."""
        wanted = engines.flash_wanted(self.dims, self.version, self.environment)[0]
        checked = gpus if self.version >= engines.FLASH_OF_LISTED_GPUS else self.discovered
        return (
            wanted and engines.flash_on_gpus(checked, self.version) and engines.flash_for_model(self.dims, self.version)
        )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Layers and bytes of a load, as Ollama's log shows them.

    Attributes:
        layers: number of layers on GPUs.
        split: layers per GPU.
        gpu_sizes: bytes per GPU.
        vram_size: their sum.
        total_size: bytes of the whole load.
        graph: the graph that counts on each GPU, `graph_full` or `graph_partial`.
        kv: bytes of the KV cache.
        fully_offloaded: whether all layers are on GPUs.
    """

    layers: int
    split: list[int]
    gpu_sizes: list[int]
    vram_size: int
    total_size: int
    graph: int
    graph_full: int
    graph_partial: int
    kv: int
    fully_offloaded: bool

    @property
    def overflow(self) -> int:
        """Bytes that stay on the host."""
        return self.total_size - self.vram_size


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """Bytes of the parts of a load.

    Attributes:
        layers: of every block, weights and KV cache.
        kv: of every block, the KV cache.
        first_gpu: what the first GPU holds beside layers.
        last: the output layer, with the vision part that counts there.
        graph_partial, graph_full: the graph where some layers, and where all layers, are on GPUs.
    """

    layers: list[int]
    kv: list[int]
    first_gpu: int
    last: int
    graph_partial: int
    graph_full: int


def estimate(load: EstimatedLoad, gpus: Sequence[Gpu], context: int) -> Estimate:
    """Layers and bytes of a list of GPUs, or of the CPU.

    Args:
        load: the load.
        gpus: list of dicts (free_bytes, library, optional minimum_bytes); all of one library. [] estimates the CPU.
        context: tokens: of all slots together to 0.11.4, of one slot from 0.11.5 on.
    """
    sizes = _sizes(load, gpus, context)
    filling = _Filling(load, gpus, sizes)
    filling.add_blocks(sizes.layers)
    complete = filling.count >= load.dims.blocks
    if sizes.last:
        complete = filling.add_last(sizes.last) and complete
    graph = sizes.graph_full if complete else sizes.graph_partial
    taken = [size + graph if layers else size for size, layers in zip(filling.taken, filling.split)]
    offloaded = bool(filling.count) and not (gpus and gpus[0].get("library") == "cpu")
    return Estimate(
        layers=filling.count if offloaded else 0,
        split=filling.split if offloaded else [],
        gpu_sizes=taken if offloaded else [],
        vram_size=sum(taken) if offloaded else 0,
        total_size=sum(taken) + filling.overflow,
        graph=graph if offloaded else 0,
        graph_full=sizes.graph_full,
        graph_partial=sizes.graph_partial,
        kv=sum(sizes.kv),
        fully_offloaded=complete and offloaded,
    )


def _sizes(load: EstimatedLoad, gpus: Sequence[Gpu], context: int) -> _Sizes:
    """Bytes of the parts of a load on these GPUs; `context` as of `estimate`."""
    dims = load.dims
    vision_bytes, vision_graph_bytes = (0, 0) if load.projector_bytes else graph_sizes.vision_graph(dims)
    first_gpu, last = load.projector_bytes, dims.output_bytes
    if load.version < VISION_WITH_OUTPUT_SINCE:
        first_gpu += vision_bytes + vision_graph_bytes
    else:
        last += vision_bytes + vision_graph_bytes
    flash = load.flash(gpus)
    graph_load = graph_sizes.GraphLoad(
        context=context * load.parallel if load.version >= graph_sizes.PARALLEL_IN_GRAPH_SINCE else context,
        batch=min(context, load.batch),
        parallel=load.parallel,
        cache_type=engines.cache_type(dims, load.version, load.environment) if flash else "",
        flash=flash,
    )
    kv, partial, full = graph_sizes.complete_graphs(dims, *graph_sizes.graph_size(dims, graph_load, load.version))
    if len(gpus) > 1:
        full = partial  # several GPUs always count the partial graph
    layers = [weights + cached for weights, cached in zip(dims.block_bytes, kv)]
    return _Sizes(layers, kv, first_gpu, last, partial, full)


class _Filling:
    """The GPUs while layers are put on them, one after the other.

    Attributes:
        taken: bytes taken per GPU, without the graph.
        space: positions of the GPUs that still have room.
        split, count: layers per GPU, and together.
        overflow: bytes that stay on the host.
    """

    def __init__(self, load: EstimatedLoad, gpus: Sequence[Gpu], sizes: _Sizes):
        self.load, self.gpus = load, gpus
        self.graph = max(sizes.graph_partial, sizes.graph_full)
        self.split, self.count = [0] * len(gpus), 0
        self.taken, self.space = self._with_space(sizes)
        if self.space:
            self.taken[self.space[0]] += sizes.first_gpu
        self.overflow = 0 if self.space else sizes.first_gpu

    def _with_space(self, sizes: _Sizes) -> tuple[list[int], list[int]]:
        """(bytes taken per GPU before any layer, positions of the GPUs that have room for two layers)."""
        layer = sizes.layers[0] if sizes.kv else 0
        if self.load.version == LARGEST_GROUP_AS_BUFFER:
            layer = self.load.dims.largest_group_bytes + (sizes.kv[0] if sizes.kv else 0)
        taken = [0] * len(self.gpus)
        space: list[int] = []
        for place, gpu in enumerate(self.gpus):
            minimum = gpu.get("minimum_bytes", MINIMUM_BYTES)
            first = 0 if space else sizes.first_gpu
            if gpu["free_bytes"] < self.load.overhead_bytes + first + self.graph + minimum + 2 * layer:
                continue
            space.append(place)
            taken[place] = minimum + layer
        return taken, space

    def _fits(self, place: int, size: int) -> bool:
        return self.gpus[place]["free_bytes"] > self.load.overhead_bytes + self.taken[place] + self.graph + size

    def _put(self, place: int, size: int) -> None:
        self.taken[place] += size
        self.split[place] += 1
        self.count += 1

    def add_blocks(self, layers: Sequence[int]) -> None:
        """Put the blocks on the GPUs in turn. A GPU on which one does not fit gets none after it."""
        back_to_front = self.load.version >= BACK_TO_FRONT_SINCE
        for index in range(len(layers) - 1, -1, -1) if back_to_front else range(len(layers)):
            size = layers[index]
            if 0 <= self.load.num_gpu <= self.count:
                self.overflow += size
                continue
            for among in range(len(self.space), 0, -1):
                place = self.space[index % among]
                if self._fits(place, size):
                    self._put(place, size)
                    break
                del self.space[index % among]
            if not self.space:
                self.overflow += size

    def add_last(self, size: int) -> bool:
        """Put the output layer on the first GPU on which it fits. Returns whether all layers are on GPUs then."""
        if self.load.num_gpu < 0 or self.count < self.load.num_gpu:
            for among in range(len(self.space), 0, -1):
                place = self.space[self.count % among]
                if self._fits(place, size):
                    self._put(place, size)
                    break
        if self.count < self.load.dims.blocks + 1:
            self.overflow += size
            return False
        return True


def fits_fully(load: EstimatedLoad, gpus: Sequence[Gpu], context: int) -> bool:
    """Whether as many layers fit as are wanted (`PredictServerFit`).

    With num_gpu above the number of layers this is never true, so that the partial path takes all GPUs.
    """
    layers = estimate(load, gpus, context).layers
    wanted = load.dims.blocks + 1 if load.num_gpu < 0 else load.num_gpu
    return layers > 0 and layers >= wanted


def by_library(gpus: Sequence[Gpu], version: Version) -> list[list[int]]:
    """Positions of the GPUs grouped by library (and, before 0.12.7, its variant), in order of first appearance."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, gpu in enumerate(gpus):
        name = (gpu.get("library") or "CUDA", "" if version >= VARIANTS_UNTIL else gpu.get("variant") or "")
        groups.setdefault(name, []).append(place)
    return list(groups.values())


def most_free_first(gpus: Sequence[Gpu], places: Iterable[int]) -> list[int]:
    """Positions sorted by free memory, most first; ties keep their order; integrated GPUs last."""
    return sorted(places, key=lambda place: (bool(gpus[place].get("integrated")), -gpus[place]["free_bytes"]))


def best_partial(load: EstimatedLoad, gpus: Sequence[Gpu], context: int) -> list[int]:
    """Positions for a load that does not fit: all GPUs in discovery order, of the library that takes most bytes."""
    groups = by_library(gpus, load.version)
    if len(groups) <= 1:
        return list(range(len(gpus)))
    best, most = groups[0], 0
    for group in groups:
        size = estimate(load, [gpus[place] for place in group], context).vram_size
        if size > most:
            best, most = group, size
    return best


def distribute(split: Sequence[int], blocks: int, num_gpu: int) -> list[list[int]]:
    """Layers per GPU as sent to the runner (`createGPULayers`, 0.11.5 to 0.12.10).

    The last `num_gpu` layers, contiguous, in the proportion of the estimate's split; with num_gpu above what the
    estimate found they go to the GPUs all the same (over-commit).

    Args:
        split: layers per GPU of the estimate.
        blocks: number of blocks of the model.
        num_gpu: number of layers to offload.

    Returns:
        the layer numbers of each GPU.
    """
    ranges: list[list[int]] = [[] for dummy in split]
    total = sum(split)
    if num_gpu <= 0 or total <= 0:
        return ranges
    sums: list[float] = []
    running = 0
    for count in split:
        running += count
        sums.append(f32(f32(running) / f32(total)))
    start = max(0, blocks - num_gpu)
    stop = min(start + num_gpu, blocks + 1)
    for layer in range(start, stop):
        share = f32(f32(layer - start) / f32(stop - start))
        place = next((index for index, bound in enumerate(sums) if share < bound), None)
        if place is not None:
            ranges[place].append(layer)
    return ranges
