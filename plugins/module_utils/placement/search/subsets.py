# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The sets of GPUs to try for a split, best first."""

from __future__ import annotations

import itertools

# Above this many sets of one size (16 GPUs have 12,870 of size 8) only neighbours and the emptiest are tried.
MOST_SETS = 500
# Worst connection first (nvidia-smi topo): through the CPUs' interconnect, within a node, a host bridge, switches.
PATHS = ("SYS", "NODE", "PHB", "PXB", "PIX", "internal")


def candidates(gpus, left, topology=()):
    """Sets of at least two GPUs: small before large; among equals sound ones, of one kind, joined by NVLink, on one
    NUMA node, over the shortest path, with the most memory left, first in PCI order.

    Args:
        gpus: GPUs in PCI order.
        left: {uuid: bytes left}.
        topology: `topology` of gpu_facts: list of {uuids: [one, other], nvlinks, path}.
    """
    linked, paths = nvlink_pairs(topology), _paths(topology)
    for size in range(2, len(gpus) + 1):
        sets = list(itertools.islice(itertools.combinations(gpus, size), MOST_SETS + 1))
        if len(sets) > MOST_SETS:
            sets = _few_sets(gpus, left, size)
        for members in sorted(sets, key=lambda chosen: _score(chosen, gpus, left, linked, paths)):
            yield list(members)


def _few_sets(gpus, left, size):
    """Neighbours in PCI order, and the emptiest GPUs: of the host, of each kind, of each NUMA node."""
    sets = [tuple(gpus[start : start + size]) for start in range(len(gpus) - size + 1)]
    groups = [gpus]
    for part in (lambda gpu: (gpu["name"], gpu["total_bytes"]), lambda gpu: gpu["numa_node"]):
        groups.extend(
            [gpu for gpu in gpus if part(gpu) == value] for value in sorted({part(gpu) for gpu in gpus}, key=str)
        )
    for group in groups:
        emptiest = sorted(group, key=lambda gpu: (-left[gpu["uuid"]], gpus.index(gpu)))[:size]
        chosen = tuple(gpu for gpu in gpus if gpu in emptiest)
        if len(chosen) == size and chosen not in sets:
            sets.append(chosen)
    return sets


def _score(members, gpus, left, linked, paths):
    kinds = {(gpu["name"], gpu["total_bytes"]) for gpu in members}
    nodes = {gpu["numa_node"] for gpu in members}
    pairs = [frozenset((one["uuid"], other["uuid"])) for one, other in itertools.combinations(members, 2)]
    return (
        sum(1 for gpu in members if gpu["degraded"]),
        len(kinds) > 1,
        sum(1 for pair in pairs if pair not in linked),
        len(nodes),
        max(paths.get(pair, 0) for pair in pairs),
        -sum(left[gpu["uuid"]] for gpu in members),
        [gpus.index(gpu) for gpu in members],
    )


def nvlink_pairs(topology):
    """Pairs of UUIDs that NVLink joins: a set of frozensets, from the topology facts."""
    pairs = set()
    for link in topology or ():
        if link.get("nvlinks"):
            pairs.add(frozenset(link["uuids"]))
    return pairs


def _paths(topology):
    """{pair of UUIDs: distance, 0 the nearest}; a path that is not known counts as the nearest."""
    found = {}
    for link in topology or ():
        if link.get("path") in PATHS:
            found[frozenset(link["uuids"])] = len(PATHS) - PATHS.index(link["path"])
    return found
