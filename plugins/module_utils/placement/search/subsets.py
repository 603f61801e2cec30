# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The sets of GPUs to try for a split, best first."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Iterator, Sequence

from ..shapes import Gpu

# Above this many sets of one size (16 GPUs have 12,870 of size 8) only neighbours and the emptiest are tried.
MOST_SETS = 500
# Worst connection first (nvidia-smi topo): through the CPUs' interconnect, within a node, a host bridge, switches.
PATHS = ("SYS", "NODE", "PHB", "PXB", "PIX", "internal")

GpuSet = tuple[Gpu, ...]
Pair = frozenset[str]  # UUIDs of two GPUs


def candidates(
    gpus: Sequence[Gpu], left: dict[str, int], topology: Sequence[Any] = (), most: int = 64, least_bytes: int = 0
) -> Iterator[GpuSet]:
    """Sets of at least two GPUs, small before large.

    Among equals those come first that are not degraded, of one kind, joined by NVLink, on one NUMA node, over the
    shortest path, with the most memory left, and first in PCI order.

    Args:
        gpus: GPUs in PCI order.
        left: {UUID: bytes left}.
        topology: `topology` of gpu_facts: list of {uuids: [one, other], nvlinks, path}.
        most: GPUs of the largest set.
        least_bytes: bytes that a set must have left; others are left out before they are compared.
    """
    linked, paths = nvlink_pairs(topology), _paths(topology)
    position = {gpu.uuid: place for place, gpu in enumerate(gpus)}

    def score(members: GpuSet) -> tuple[Any, ...]:
        pairs = [frozenset((one.uuid, other.uuid)) for one, other in itertools.combinations(members, 2)]
        return (
            sum(1 for gpu in members if gpu.degraded),
            len({(gpu.name, gpu.total_bytes) for gpu in members}) > 1,
            sum(1 for pair in pairs if pair not in linked),
            len({gpu.numa_node for gpu in members}),
            max(paths.get(pair, 0) for pair in pairs),
            -sum(left[gpu.uuid] for gpu in members),
            [position[gpu.uuid] for gpu in members],
        )

    for size in range(2, min(len(gpus), most) + 1):
        sets = list(itertools.islice(itertools.combinations(gpus, size), MOST_SETS + 1))
        if len(sets) > MOST_SETS:
            sets = _few_sets(gpus, left, size)
        yield from sorted((one for one in sets if sum(left[gpu.uuid] for gpu in one) >= least_bytes), key=score)


def _few_sets(gpus: Sequence[Gpu], left: dict[str, int], size: int) -> list[GpuSet]:
    """Neighbours in PCI order, and the emptiest GPUs: of the host, of each kind, of each NUMA node."""
    sets = [tuple(gpus[start : start + size]) for start in range(len(gpus) - size + 1)]
    groups = [list(gpus)]
    parts: tuple[Callable[[Gpu], Any], ...] = (lambda gpu: (gpu.name, gpu.total_bytes), lambda gpu: gpu.numa_node)
    for part in parts:
        groups.extend([gpu for gpu in gpus if part(gpu) == value] for value in sorted(set(map(part, gpus)), key=str))
    for group in groups:
        # A sort keeps the PCI order of equals.
        emptiest = {gpu.uuid for gpu in sorted(group, key=lambda gpu: -left[gpu.uuid])[:size]}
        chosen = tuple(gpu for gpu in gpus if gpu.uuid in emptiest)
        if len(chosen) == size and chosen not in sets:
            sets.append(chosen)
    return sets


def nvlink_pairs(topology: Sequence[Any]) -> set[Pair]:
    """Pairs of UUIDs that NVLink joins, from the topology facts."""
    return {frozenset(link["uuids"]) for link in topology or () if link.get("nvlinks")}


def _paths(topology: Sequence[Any]) -> dict[Pair, int]:
    """{pair of UUIDs: distance, 0 the nearest}; a path that is not known counts as the nearest."""
    return {
        frozenset(link["uuids"]): len(PATHS) - PATHS.index(link["path"])
        for link in topology or ()
        if link.get("path") in PATHS
    }
