# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a graph needs on every device: what runs where, what is copied, and the high-water mark of the memory. Pure.

Follows ggml's scheduler and graph allocator in what they decide (ggml/src/ggml-backend.cpp
`ggml_backend_sched_split_graph`, ggml/src/ggml-alloc.c): nodes run where their weights are, the others where their
neighbours do; values that another device needs are copied to it before its part begins; memory is given out in the
order of the nodes, the best fitting hole first, and freed after the last use.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from .tensors import IN_PLACE, Graph, Value

ALIGNMENT = 128  # bytes; ggml-cuda.cu `ggml_backend_cuda_buffer_type_get_alignment`
OFFLOAD_ROWS = 32  # ggml-cuda.cu `op_offload_min_batch_size`, unless GGML_OP_OFFLOAD_MIN_BATCH says otherwise
COPIES = 4  # GGML_SCHED_MAX_COPIES: with a pipeline over several devices every value that crosses has so many copies


class Part:
    """A run of nodes on one device.

    Attributes:
        device: its number.
        nodes: in order.
        copied: (value, its copy on the device) of what the part needs from elsewhere.
    """

    __slots__ = ("device", "nodes", "copied")

    def __init__(self, device: int, nodes: List[Value]) -> None:
        self.device, self.nodes = device, nodes
        self.copied: List[Tuple[Value, Value]] = []


def reserve(graph: Graph, devices: int, pipeline: bool, offload: bool = False) -> List[int]:
    """Bytes of the compute buffer of every device and, last, of the host.

    Args:
        graph: tensors.Graph with its nodes in order; `home` and `bound` are device numbers, the host is number
            `devices`.
        devices: number of devices.
        pipeline: whether all layers are on several devices, which then work one after the other on several batches.
        offload: whether the first device computes what has its weights on the host, on copies of them (`--op-offload`,
            llama.cpp's default). The graph must have those weights then (Graph.host).
    """
    assign(graph.nodes, graph.inputs, devices, offload)
    parts = split(graph.nodes)
    copies = COPIES if pipeline else 1
    return allocate(graph, parts, devices, copies)


def wants_offload(node: Value) -> bool:
    """Whether a device takes an operation whose weights are on the host: with so many rows that copying them pays.

    Source: ggml-cuda.cu `get_op_batch_size`.
    """
    if node.operation == "get_rows":
        return False
    dummy, first, second, third = node.shape
    if node.operation == "mul_mat":
        return first >= OFFLOAD_ROWS
    if node.operation == "mul_mat_id":
        return second >= OFFLOAD_ROWS
    return first * second * third >= OFFLOAD_ROWS


def assign(nodes: List[Value], inputs: List[Value], host: int, offload: bool = False) -> None:
    """Choose the device of every value (passes 1, 2 and 4 of the scheduler)."""
    for value in inputs:
        value.device = host
    for node in nodes:
        root = node.root
        if root is not None and root.home is not None:
            node.device = root.home
        elif node.bound is not None:
            node.device = 0 if offload and node.bound == host and wants_offload(node) else node.bound
    real = [node for node in nodes if not node.looks]
    for order, spread_host in ((real, False), (real[::-1], False), (real, True), (real[::-1], True)):
        current = None
        for node in order:
            if node.device is not None:
                current = None if node.device == host and not spread_host else node.device
            elif current is not None:
                node.device = current
    for node in nodes:
        if node.device is None:
            node.device = node.root.device if node.root is not None and node.root.device is not None else host
        for source in node.sources:
            if source.device is None:
                if source.home is not None:
                    source.device = source.home
                else:
                    source.device = source.root.device if source.root is not None else node.device


def split(nodes: List[Value]) -> List[Part]:
    """Cut the nodes into runs on one device. Sources that are elsewhere are replaced by copies."""
    parts: List[Part] = []
    current = None
    waiting: List[Value] = []
    copied: Dict[Tuple[int, int], Value] = {}
    for node in nodes:
        if node.looks:
            (current.nodes if current else waiting).append(node)
            continue
        # Weights that must be copied begin a part of their own, so that those of the part before make room for them.
        again = (
            current is not None
            and current.copied
            and any(source.operation == "weight" and source.device != current.device for source in node.sources)
        )
        if current is None or node.device != current.device or again:
            current = Part(node.device, waiting if current is None else [])
            waiting = []
            parts.append(current)
        device = current.device
        for source in node.sources:
            if source.device != device:
                if (id(source), device) not in copied:
                    copied[(id(source), device)] = duplicate(source, device)
                    current.copied.append((source, copied[(id(source), device)]))
                node.sources = tuple(
                    copied[(id(source), device)] if other is source else other for other in node.sources
                )
        current.nodes.append(node)
    return parts


def duplicate(source: Value, device: int) -> Value:
    """A value of the same layout on another device."""
    value = Value("none", source.shape, source.strides, source.element, ())
    value.device = device
    return value


def allocate(graph: Graph, parts: List[Part], host: int, copies: int) -> List[int]:
    """The allocator's high-water mark of every device and, last, of the host, bytes."""
    spaces = [Space() for unused in range(host + 1)]
    if copies > 1:
        for value in graph.inputs:
            for unused in range(copies - 1):
                place(duplicate(value, host), spaces)
            value.kept = True
            place(value, spaces)
        for part in parts:
            for dummy, value in part.copied:
                value.kept = True
                place(value, spaces)
                for unused in range(copies - 1):
                    place(duplicate(value, part.device), spaces)
    for value in graph.inputs:
        place(value, spaces)
    order = []
    for part in parts:
        for source, value in part.copied:
            waits = Value("none", source.shape, source.strides, source.element, (source,), source.root or source)
            waits.device = source.device
            order.append(waits)
            order.append(value)
        order.extend(part.nodes)
    for node in order:
        if node.root is not None and node.operation != "none":
            node.root.views += 1
        for source in node.sources:
            source.children += 1
    for node in order:
        place(node, spaces)
        for source in node.sources:
            source.children -= 1
            if source.children == 0 and source.views == 0:
                if source.root is not None:
                    root = source.root
                    root.views -= 1
                    if root.views == 0 and root.children == 0 and root.allocated:
                        free(root, spaces)
                elif source.allocated:
                    free(source, spaces)
    return [space.high for space in spaces]


def place(node: Value, spaces: List[Space]) -> None:
    """Give a value memory: a source's, where the operation may write over it, else the best hole."""
    if node.allocated or node.root is not None or node.home is not None:
        return
    node.allocated = True
    if node.operation in IN_PLACE:
        for source in node.sources:
            # A view counts as foreign memory here, so nothing is written over what a view looks at.
            if not source.allocated or source.kept or source.children != 1 or source.views != 0:
                continue
            if source.shape != node.shape or source.strides != node.strides or source.element != node.element:
                continue
            node.where, node.place = source.where, source.place
            source.allocated = False
            return
    node.where = node.device
    node.place = spaces[node.where].take(aligned(node.bytes))


def free(value: Value, spaces: List[Space]) -> None:
    """Give the memory of a value back, unless it is an output."""
    if value.kept:
        return
    spaces[value.where].give(value.place, aligned(value.bytes))
    value.allocated = False


def aligned(size: int) -> int:
    """Bytes rounded up to the allocator's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Space:
    """The memory of one device: holes as [offset, size] in order of their offset, the last one endless."""

    def __init__(self) -> None:
        self.holes = [[0, 1 << 62]]
        self.high = 0

    def take(self, size: int) -> int:
        """Offset of `size` bytes: the smallest hole that is large enough (the last of equals), else at the end."""
        holes = self.holes
        best = len(holes) - 1
        best_size = 1 << 62
        for index in range(len(holes) - 1):
            have = holes[index][1]
            if size <= have <= best_size:
                best, best_size = index, have
        hole = holes[best]
        offset = hole[0]
        hole[0] += size
        hole[1] -= size
        if hole[1] == 0:
            del holes[best]
        if offset + size > self.high:
            self.high = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Give bytes back, joined with the holes beside them."""
        holes = self.holes
        end = offset + size
        for index, hole in enumerate(holes):
            if hole[0] + hole[1] == offset:
                hole[1] += size
                if index + 1 < len(holes) and holes[index + 1][0] == hole[0] + hole[1]:
                    hole[1] += holes[index + 1][1]
                    del holes[index + 1]
                return
            if end == hole[0]:
                hole[0] = offset
                hole[1] += size
                return
            if hole[0] > offset:
                holes.insert(index, [offset, size])
                return
        holes.append([offset, size])
