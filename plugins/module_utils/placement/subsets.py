# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The sets of GPUs to try for a split, best first."""

from __future__ import annotations

import itertools

# Above this many sets of one size (16 GPUs have 12,870 of size 8) only neighbours in PCI order are tried.
MOST_SETS = 500


def candidates(gpus, left, topology=()):
    """Sets of at least two GPUs: small before large; among equals those of one kind, joined by NVLink, on one NUMA
    node, with the most memory left, first in PCI order.

    Args:
        gpus: GPUs in PCI order.
        left: {uuid: bytes left}.
        topology: `topology` of gpu_facts: list of {uuids: [one, other], nvlinks}.
    """
    linked = nvlink_pairs(topology)
    for size in range(2, len(gpus) + 1):
        sets = list(itertools.islice(itertools.combinations(gpus, size), MOST_SETS + 1))
        if len(sets) > MOST_SETS:
            sets = [tuple(gpus[start:start + size]) for start in range(len(gpus) - size + 1)]
        for members in sorted(sets, key=lambda chosen: _score(chosen, gpus, left, linked)):
            yield list(members)


def _score(members, gpus, left, linked):
    kinds = {(gpu["name"], gpu["total_bytes"]) for gpu in members}
    nodes = {gpu["numa_node"] for gpu in members}
    joined = all(frozenset((one["uuid"], other["uuid"])) in linked for one, other in itertools.combinations(members, 2))
    return (
        len(kinds) > 1,
        not joined,
        len(nodes) > 1,
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
