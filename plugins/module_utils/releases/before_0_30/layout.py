# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The layout of Ollama's measured placement: 0.11.5 to 0.12.10 for its own engine, 0.12.11 to 0.24 for both engines.

Source: llm/server.go, `buildLayout`, `verifyLayout`, `assignLayers`, `findBestFit`, `greedyFit`, read at 0.11.10,
0.12.6, 0.12.10, 0.12.11 and 0.24.0. As few GPUs as possible are filled in proportion to their free memory: the
smallest capacity factor is searched at which all layers still fit. The last layers go to the last GPU first.

A layout is a list of (position of the GPU, list of layer numbers); the output layer is the last layer. An entry may
have no layers. The factor is a 32 bit float, which matters twice: a search whose bounds become neighbours further
apart than its tolerance never ends (`EndlessSearch`), and free memory is rounded before it is multiplied.
"""

from __future__ import annotations

import dataclasses
from typing import Any, List, Optional, Sequence, Tuple

from ...memory.weights import float32 as f32
from ..shapes import Gpu, Version
from . import estimator

Layout = List[Tuple[int, List[int]]]  # (position of the GPU, layer numbers)

TOLERANCE = f32(1e-6)
FORCED_CAPACITY = 1000.0  # factor up to which a forced num_gpu searches
EVICTION_WITH_NUM_GPU_SINCE = (0, 12, 6)  # before, a forced num_gpu is met even while another model is loaded
GROUPS_SINCE = (0, 12, 11)  # from here integrated GPUs are filled after the discrete ones
GPUS_CHECKED_SINCE = (0, 13, 1)  # from here a load on the CPU does not evict for lack of GPU memory
NO_LAYERS_CHECKED_SINCE = (0, 12, 7)  # before, num_gpu 0 gives no layout and is not checked against system memory
TWO_TO_64 = 1 << 64


class LayoutError(Exception):
    """No layout was found, or none could be allocated. The message says why."""


class EndlessSearch(LayoutError):
    """The search for a capacity factor never ends: Ollama stays at 100 % CPU and the model never loads."""


class NeedsRoom(LayoutError):
    """The model does not fit beside what is loaded: another model is evicted (`ErrLoadRequiredFull`)."""


class NoSystemMemory(LayoutError):
    """The part of the model that stays on the host needs more memory than the host has."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a layout depends on beside sizes.

    Attributes:
        version: the Ollama version.
        num_gpu: layers asked for; -1 = automatic.
        spread: OLLAMA_SCHED_SPREAD.
        overhead_bytes: OLLAMA_GPU_OVERHEAD.
        require_full: whether another model is loaded, which would be evicted rather than loading partly.
        system: {free_bytes, swap_bytes} of the host, or None where unknown (then it is never short).
    """

    version: Version
    num_gpu: int = -1
    spread: bool = False
    overhead_bytes: int = 0
    require_full: bool = False
    system: Optional[dict[str, int]] = None

    @classmethod
    def of(cls, request: Any) -> Rules:
        """The rules for a common_rules.EffectiveRequest."""
        return cls(
            request.version,
            request.num_gpu,
            request.spread,
            request.overhead_bytes,
            request.beside_others,
            request.system,
        )


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of a model that are known so far.

    Attributes:
        layers: bytes of every layer with its cache, the output layer last.
        graphs: position of the GPU -> bytes of its graph; a GPU that is not a key is not seen by the runner.
        host_bytes: input weights and graph on the host.
    """

    layers: Sequence[int]
    graphs: dict[int, int]
    host_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class _Room:
    """A GPU with the bytes that it has for layers.

    Attributes:
        place: its position.
        free_bytes: bytes.
        last: whether it is filled after the others, as integrated GPUs are.
    """

    place: int
    free_bytes: int
    last: bool


def layers_of(layout: Layout) -> int:
    """Number of layers of a layout."""
    return sum(len(layers) for dummy, layers in layout)


def identity(layout: Layout) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """What tells two layouts apart: entries without layers do not count (`GPULayersList.Hash`)."""
    return tuple((place, tuple(layers)) for place, layers in layout if layers)


def create(
    rules: Rules, gpus: Sequence[Gpu], sizes: Sizes, backoff: float = 0.0, num_gpu: Optional[int] = None
) -> Layout:
    """A layout for the sizes known so far (`createLayout`).

    Args:
        rules: what the layout depends on beside sizes.
        gpus: list of dicts (free_bytes, library, integrated, optional minimum_bytes), in discovery order.
        sizes: of the model.
        backoff: share of the free memory to leave out.
        num_gpu: in place of rules.num_gpu.

    Raises:
        EndlessSearch, NeedsRoom, NoSystemMemory.
    """
    wanted = rules.num_gpu if num_gpu is None else num_gpu
    if wanted == 0 and rules.version < NO_LAYERS_CHECKED_SINCE:
        return []
    found = _build(rules, gpus, sizes, backoff, wanted)
    _verify(rules, gpus, sizes, found, wanted)
    return found


def _build(rules: Rules, gpus: Sequence[Gpu], sizes: Sizes, backoff: float, num_gpu: int) -> Layout:
    """The best layout of all libraries, before any check of limits (`buildLayout`)."""
    best: Layout = []
    order = estimator.most_free_first(gpus, range(len(gpus)))
    grouped = num_gpu < 0 and not rules.spread and rules.version >= GROUPS_SINCE
    for group in estimator.by_library([gpus[place] for place in order], rules.version):
        last_used, rooms = 0, []
        for number, place in enumerate(order[index] for index in group):
            graph = sizes.graphs.get(place)
            free = 0
            if graph is not None:
                available = gpus[place]["free_bytes"]
                minimum = gpus[place].get("minimum_bytes", estimator.MINIMUM_BYTES)
                reserved = _truncated(f32(f32(available) * backoff)) + minimum + rules.overhead_bytes + graph
                free = max(0, available - reserved)
            if graph:
                last_used = number
            rooms.append(_Room(place, free, grouped and bool(gpus[place].get("integrated"))))
        found = _assign(rules, rooms, sizes.layers, num_gpu, last_used)
        if layers_of(found) > layers_of(best):
            best = found
    return best


def _verify(rules: Rules, gpus: Sequence[Gpu], sizes: Sizes, layout: Layout, num_gpu: int) -> None:
    """Raise where the layout breaks a limit (`verifyLayout`)."""
    placed = set(layer for dummy, numbers in layout for layer in numbers)
    layers = sizes.layers
    needed = sizes.host_bytes + sum(size for index, size in enumerate(layers) if index not in placed)
    count = layers_of(layout)
    system = rules.system
    if rules.require_full:
        if (gpus or rules.version < GPUS_CHECKED_SINCE) and count < len(layers) and (num_gpu < 0 or count < num_gpu):
            raise NeedsRoom("the model does not fit on the GPUs beside what is loaded")
        if system and needed > system["free_bytes"]:
            raise NeedsRoom("the model does not fit into system memory beside what is loaded")
    if system and needed > system["free_bytes"] + system.get("swap_bytes", 0):
        raise NoSystemMemory(
            "the model needs %d bytes of system memory, %d are available"
            % (needed, system["free_bytes"] + system.get("swap_bytes", 0))
        )


def _assign(rules: Rules, rooms: Sequence[_Room], layers: Sequence[int], num_gpu: int, last_used: int) -> Layout:
    """Layers on the fewest GPUs that take them; without the output layer if all do not fit (`assignLayers`)."""
    force = not rules.require_full or rules.version < EVICTION_WITH_NUM_GPU_SINCE
    found: Layout = []
    requested = num_gpu
    for dummy in range(2):
        requested = min(len(layers), requested)
        if rules.spread:
            found = _best_fit(rules, rooms, layers, requested, force)
        else:
            for count in range(last_used + 1, len(rooms) + 1):
                found = _best_fit(rules, rooms[:count], layers, requested, count == len(rooms) and force)
                if layers_of(found) in (len(layers), requested):
                    break
        if layers_of(found) == len(layers):
            return found
        layers = layers[:-1]
    return found


def _best_fit(rules: Rules, rooms: Sequence[_Room], layers: Sequence[int], requested: int, force: bool) -> Layout:
    """Layers in proportion to free memory, discrete GPUs first (`findBestFit`).

    Raises:
        EndlessSearch: the bounds of the capacity factor become neighbouring floats before they are close enough.
    """
    groups: dict[bool, list[_Room]] = {}
    for room in rooms:
        groups.setdefault(room.last, []).append(room)
    found: Layout = []
    for members in groups.values():
        highest = FORCED_CAPACITY if requested >= 0 and force else 1.0
        chosen = _smallest_capacity(members, layers, requested, highest, rules.version)
        count = layers_of(chosen)
        layers = layers[: len(layers) - count]
        requested -= count
        found = chosen + found
    return found


def _smallest_capacity(
    rooms: Sequence[_Room], layers: Sequence[int], requested: int, highest: float, version: Version
) -> Layout:
    """The layout with the smallest capacity factor, up to `highest`, at which as many layers fit as at that one."""
    high, low = highest, 0.0
    best = _greedy(rooms, layers, high, requested)
    most = layers_of(best)
    if not most and version < GROUPS_SINCE:
        return best
    while f32(high - low) > TOLERANCE:
        middle = f32((low + high) / 2)
        found = _greedy(rooms, layers, middle, requested)
        if layers_of(found) == most:
            if middle == high:
                raise EndlessSearch("the search for a layout never ends with num_gpu %d" % requested)
            high, best = middle, found
        else:
            if middle == low:
                raise EndlessSearch("the search for a layout never ends with num_gpu %d" % requested)
            low = middle
    return best


def _greedy(rooms: Sequence[_Room], layers: Sequence[int], capacity: float, requested: int) -> Layout:
    """Fill GPUs from the last, with layers from the last, while they fit into free memory * capacity (`greedyFit`)."""
    device = len(rooms) - 1
    found: Layout = [(rooms[device].place, [])]
    left = _share(rooms[device], capacity)
    for index in range(len(layers) - 1, -1, -1):
        if 0 <= requested <= len(layers) - 1 - index:
            break
        size = layers[index]
        while size > left:
            device -= 1
            if device < 0:
                return [(place, numbers[::-1]) for place, numbers in found]
            found.insert(0, (rooms[device].place, []))
            left = _share(rooms[device], capacity)
        found[0][1].append(index)
        left -= size
    return [(place, numbers[::-1]) for place, numbers in found]


def _share(room: _Room, capacity: float) -> int:
    """Bytes of a GPU that a capacity factor lets the layout use."""
    return _truncated(f32(f32(room.free_bytes) * capacity))


def _truncated(value: float) -> int:
    """A float as Go on amd64 turns it into a 64 bit unsigned integer; too large becomes half of the range."""
    return int(value) if value < TWO_TO_64 else TWO_TO_64 >> 1
