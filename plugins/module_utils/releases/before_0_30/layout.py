# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The layout of Ollama's measured placement: 0.11.5 to 0.12.10 for its own engine, 0.12.11 to 0.24 for both engines.

Source: llm/server.go, `buildLayout`, `verifyLayout`, `assignLayers`, `findBestFit`, `greedyFit`, read at 0.11.10,
0.12.6, 0.12.10, 0.12.11 and 0.24.0. As few GPUs as possible are filled in proportion to their free memory: the
smallest capacity factor is searched at which all layers still fit, and layers are laid from the last one down.

A layout is a list of (position of the GPU, list of layer numbers); the output layer is the last layer. An entry may
have no layers. The factor is a 32 bit float, which matters twice: a search whose bounds become neighbours further
apart than its tolerance never ends (`SearchForEver`), and free memory is rounded before it is multiplied.
"""

from __future__ import annotations

from ...memory.weights import float32 as f32
from . import estimator

TOLERANCE = f32(1e-6)
FORCED_CAPACITY = 1000.0  # factor up to which a forced num_gpu searches
EVICTION_WITH_NUM_GPU_SINCE = (0, 12, 6)  # before, a forced num_gpu is met even while another model is loaded
GROUPS_SINCE = (0, 12, 11)  # from here integrated GPUs are filled after the discrete ones
GPUS_CHECKED_SINCE = (0, 13, 1)  # from here a load on the CPU does not evict for lack of GPU memory
NO_LAYERS_CHECKED_SINCE = (0, 12, 7)  # before, num_gpu 0 gives no layout and is not checked against system memory
TWO_TO_64 = 1 << 64


class SearchForEver(Exception):
    """The search for a capacity factor never ends: Ollama stays at 100 % CPU and the model never loads."""


class NeedsRoom(Exception):
    """The model does not fit beside what is loaded: another model is evicted (`ErrLoadRequiredFull`)."""


class NoSystemMemory(Exception):
    """The part of the model that stays on the host needs more memory than the host has."""


class Rules:
    """What a layout depends on beside sizes.

    Args:
        version: Ollama version as a tuple.
        num_gpu: layers asked for; -1 = automatic.
        spread: OLLAMA_SCHED_SPREAD.
        overhead_bytes: OLLAMA_GPU_OVERHEAD.
        require_full: whether another model is loaded, which would be evicted rather than loading partly.
        system: {free_bytes, swap_bytes} of the host, or None where unknown (then it is never short).
    """

    def __init__(self, version, num_gpu=-1, spread=False, overhead_bytes=0, require_full=False, system=None):
        self.version, self.num_gpu, self.spread = version, num_gpu, spread
        self.overhead_bytes, self.require_full, self.system = overhead_bytes, require_full, system


def layers_of(layout):
    """Number of layers of a layout."""
    return sum(len(layers) for dummy, layers in layout)


def identity(layout):
    """What tells two layouts apart: entries without layers do not count (`GPULayersList.Hash`)."""
    return tuple((place, tuple(layers)) for place, layers in layout if layers)


def create(rules, gpus, layers, graphs, host_bytes=0, backoff=0.0, num_gpu=None):
    """A layout for the sizes known so far (`createLayout`).

    Args:
        rules: Rules.
        gpus: list of dicts (free_bytes, library, integrated, optional minimum_bytes), in discovery order.
        layers: bytes of every layer with its cache, the output layer last.
        graphs: bytes of the graph per GPU (position -> bytes); a GPU that is not a key is not seen by the runner.
        host_bytes: input weights and graph on the host.
        backoff: share of the free memory to leave out.
        num_gpu: in place of rules.num_gpu.

    Returns:
        the layout.

    Raises:
        SearchForEver, NeedsRoom, NoSystemMemory.
    """
    wanted = rules.num_gpu if num_gpu is None else num_gpu
    if wanted == 0 and rules.version < NO_LAYERS_CHECKED_SINCE:
        return []
    found = build(rules, gpus, layers, graphs, backoff, wanted)
    verify(rules, gpus, layers, found, host_bytes, wanted)
    return found


def build(rules, gpus, layers, graphs, backoff=0.0, num_gpu=-1):
    """The best layout of all libraries, before any check of limits (`buildLayout`)."""
    best = []
    order = estimator.most_free_first(gpus, range(len(gpus)))
    for group in estimator.by_library([gpus[place] for place in order], rules.version):
        places = [order[index] for index in group]
        last_used, free = 0, []
        for index, place in enumerate(places):
            if place not in graphs:
                free.append(0)
                continue
            if graphs[place]:
                last_used = index
            available = gpus[place]["free_bytes"]
            reserved = _truncated(f32(f32(available) * backoff))
            reserved += gpus[place].get("minimum_bytes", estimator.MINIMUM_BYTES) + rules.overhead_bytes + graphs[place]
            free.append(max(0, available - reserved))
        integrated = [bool(gpus[place].get("integrated")) for place in places]
        found = assign(rules, places, free, integrated, layers, num_gpu, last_used)
        if layers_of(found) > layers_of(best):
            best = found
    return best


def verify(rules, gpus, layers, layout, host_bytes, num_gpu):
    """Raise where the layout breaks a limit (`verifyLayout`)."""
    placed = set(layer for dummy, numbers in layout for layer in numbers)
    needed = host_bytes + sum(size for index, size in enumerate(layers) if index not in placed)
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


def assign(rules, places, free, integrated, layers, num_gpu, last_used):
    """Layers on the fewest GPUs that take them; without the output layer if all do not fit (`assignLayers`)."""
    if num_gpu >= 0 or rules.spread or rules.version < GROUPS_SINCE:
        integrated = [False] * len(places)
    force = not rules.require_full or rules.version < EVICTION_WITH_NUM_GPU_SINCE
    found, requested = [], num_gpu
    layers = list(layers)
    for dummy in range(2):
        requested = min(len(layers), requested)
        if rules.spread:
            found = best_fit(rules, places, free, integrated, layers, requested, force)
        else:
            for count in range(last_used + 1, len(places) + 1):
                last = count == len(places)
                found = best_fit(
                    rules, places[:count], free[:count], integrated[:count], layers, requested, last and force
                )
                if layers_of(found) in (len(layers), requested):
                    break
        if layers_of(found) == len(layers):
            return found
        layers = layers[:-1]
    return found


def best_fit(rules, places, free, integrated, layers, requested, force):
    """Layers in proportion to free memory, discrete GPUs first (`findBestFit`).

    Raises:
        SearchForEver: the capacity factor cannot be told apart finely enough.
    """
    groups = {}
    for index in range(len(places)):
        groups.setdefault(integrated[index], []).append(index)
    found = []
    for members in groups.values():
        group = [places[index] for index in members]
        room = [f32(free[index]) for index in members]
        chosen = _smallest_capacity(group, room, layers, requested, force, rules.version)
        count = layers_of(chosen)
        layers = layers[: len(layers) - count]
        requested -= count
        found = chosen + found
    return found


def _smallest_capacity(places, room, layers, requested, force, version):
    high, low = (FORCED_CAPACITY if requested >= 0 and force else 1.0), 0.0
    best = greedy(places, room, layers, high, requested)
    most = layers_of(best)
    if not most and version < GROUPS_SINCE:
        return best
    while f32(high - low) > TOLERANCE:
        middle = f32((low + high) / 2)
        found = greedy(places, room, layers, middle, requested)
        if layers_of(found) == most:
            if middle == high:
                raise SearchForEver("the search for a layout never ends with num_gpu %d" % requested)
            high, best = middle, found
        else:
            if middle == low:
                raise SearchForEver("the search for a layout never ends with num_gpu %d" % requested)
            low = middle
    return best


def greedy(places, room, layers, capacity, requested):
    """Fill GPUs from the last, with layers from the last, while they fit into room * capacity (`greedyFit`)."""
    device = len(places) - 1
    found = [(places[device], [])]
    left = _truncated(f32(room[device] * capacity))
    for index in range(len(layers) - 1, -1, -1):
        if 0 <= requested <= len(layers) - 1 - index:
            break
        size = layers[index]
        while size > left:
            device -= 1
            if device < 0:
                return [(place, numbers[::-1]) for place, numbers in found]
            found.insert(0, (places[device], []))
            left = _truncated(f32(room[device] * capacity))
        found[0][1].append(index)
        left -= size
    return [(place, numbers[::-1]) for place, numbers in found]


def _truncated(value):
    """A float as Go on amd64 turns it into a 64 bit unsigned integer; too large becomes half of the range."""
    return int(value) if value < TWO_TO_64 else TWO_TO_64 >> 1
