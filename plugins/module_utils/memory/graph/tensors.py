# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Values of one batch as nodes of a graph: shapes, strides, sources and the device that a node is bound to. Pure.

The names are those of ggml operations, of which only what decides about memory is kept: whether an operation makes a
new value, may write over one of its sources (ggml-alloc.c, `ggml_op_can_inplace`) or is a view of another value.
Everything is 32 bit floats unless said otherwise.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Set, Tuple

F32, F16, I32, I64 = 4, 2, 4, 8  # bytes of an element

Shape = Tuple[int, ...]
Strides = Tuple[float, ...]  # bytes; not whole where an element has less than one

IN_PLACE = frozenset(
    (
        "fill",
        "scale",
        "add",
        "add_id",
        "sub",
        "mul",
        "div",
        "sqr",
        "sqrt",
        "log",
        "unary",
        "rope",
        "rms_norm",
        "clamp",
        "soft_max",
    )
)


class Value:
    """One tensor.

    Attributes:
        operation: name of the ggml operation that makes it.
        shape, strides: four dimensions, strides in bytes.
        element: bytes of an element; less than one in a quantized cache.
        sources: the values that the operation reads.
        root: the value whose memory a view is a part of, else None.
        home: the device of its memory, where that exists before the graph (caches), else None.
        bound: the device that the operation must run on (that of its weights); None = that of its neighbours.
        kept: an output: never freed.
        looks: a view operation: nothing is computed.
        bytes: from the first to the last element.
        device, children, views, allocated, where, place: notes of the scheduler and the allocator (reserve.py).
    """

    __slots__ = (
        "operation",
        "shape",
        "strides",
        "element",
        "sources",
        "root",
        "home",
        "bound",
        "kept",
        "looks",
        "device",
        "children",
        "views",
        "allocated",
        "place",
        "where",
        "bytes",
    )

    def __init__(
        self,
        operation: str,
        shape: Shape,
        strides: Strides,
        element: float,
        sources: Tuple["Value", ...],
        root: Optional["Value"] = None,
    ) -> None:
        self.operation = operation
        self.shape = shape
        self.strides = strides
        self.element = element
        self.sources = sources
        self.root = root
        self.bound: Optional[int] = None
        self.home: Optional[int] = None
        self.kept = False
        self.looks = False
        self.device: Any = None  # a number once assigned, as are place and where
        self.children = self.views = 0
        self.allocated = False
        self.place: Any = None
        self.where: Any = None
        self.bytes = extent(shape, strides, element)


def contiguous(shape: Shape, element: float) -> Strides:
    """Strides (bytes) of a value without gaps."""
    first = element * shape[0]
    second = first * shape[1]
    return (element, first, second, second * shape[2])


def extent(shape: Shape, strides: Strides, element: float) -> int:
    """Bytes from the first to the last element."""
    one, two, three, four = shape
    if not (one and two and three and four):
        return 0
    first, second, third, fourth = strides
    return int(element + (one - 1) * first + (two - 1) * second + (three - 1) * third + (four - 1) * fourth)


def viewed(shape: Sequence[int], strides: Strides) -> Strides:
    """Strides (bytes) of a view of this shape, of one to four dimensions."""
    found = list(strides[: len(shape)])
    while len(found) < 4:
        last = len(found) - 1
        found.append(found[last] * (shape[last] if last < len(shape) else 1))
    return tuple(found)


def four(shape: Sequence[int]) -> Shape:
    """A shape with its missing dimensions."""
    return tuple(shape) + (1,) * (4 - len(shape))


class Graph:
    """Collects nodes in the order in which the engine computes them (depth first, sources from left to right).

    Args:
        host: number of the host where weights on it are to be sources of their operations, because they can be copied
            to a device then (reserve.py); else None.
    """

    def __init__(self, host: Optional[int] = None) -> None:
        self.host = host
        self.nodes: List[Value] = []
        self.inputs: List[Value] = []
        self._seen: Set[int] = set()

    # --- making values ---------------------------------------------------------------------------

    def new(
        self,
        operation: str,
        sources: Tuple[Value, ...],
        shape: Sequence[int],
        element: float = F32,
        bound: Optional[int] = None,
        weight: Optional[int] = None,
    ) -> Value:
        """The result of an operation.

        Args:
            operation: its name.
            sources: what it reads.
            shape: of the result.
            element: bytes of an element of the result.
            bound: device of its weights, or None.
            weight: bytes of its weights; None where they are a row of the result (norms, biases).
        """
        shape = four(shape)
        sources = self.with_weight(sources, shape, bound, weight)
        value = Value(operation, shape, contiguous(shape, element), element, sources)
        value.bound = bound
        return value

    def like(
        self, operation: str, source: Value, *others: Value, bound: Optional[int] = None, weight: Optional[int] = None
    ) -> Value:
        """The result of an operation that has the shape of its first source."""
        return self.new(operation, (source,) + others, source.shape, source.element, bound, weight)

    def with_weight(
        self, sources: Tuple[Value, ...], shape: Sequence[int], bound: Optional[int], size: Optional[int]
    ) -> Tuple[Value, ...]:
        """The sources of an operation with its weights among them, if those are on the host.

        A matrix comes first, anything else (`size` None) last.
        """
        if bound is None or bound != self.host:
            return sources
        weight = self.new("weight", (), (F32 * shape[0] if size is None else size,), 1)
        weight.home = bound
        return sources + (weight,) if size is None else (weight,) + sources

    def given(self, shape: Sequence[int], element: float = F32) -> Value:
        """An input of the graph: filled in by the host before the graph runs."""
        value = self.new("none", (), shape, element)
        self.inputs.append(value)
        return value

    def stored(self, shape: Sequence[int], element: float, home: int) -> Value:
        """Memory that exists before the graph: a cache on device `home`."""
        value = self.new("none", (), shape, element)
        value.home = home
        return value

    def view(self, source: Value, shape: Sequence[int], strides: Optional[Strides] = None) -> Value:
        """A view of part of a value; without strides a reshape.

        Only the strides between the dimensions of `shape` count: a view is as long as what it shows (`ggml_view_2d`,
        `ggml_view_3d`).
        """
        strides = contiguous(four(shape), source.element) if strides is None else viewed(shape, strides)
        value = Value("view", four(shape), strides, source.element, (source,), source.root or source)
        value.looks = True
        return value

    def permute(self, source: Value, order: Shape) -> Value:
        """Dimensions in another order: dimension i becomes dimension order[i]."""
        shape: List[int] = [0] * 4
        strides: List[float] = [0] * 4
        for index, place in enumerate(order):
            shape[place], strides[place] = source.shape[index], source.strides[index]
        return self.view(source, tuple(shape), tuple(strides))

    def transpose(self, source: Value) -> Value:
        """Rows and columns exchanged, as a view."""
        return self.permute(source, (1, 0, 2, 3))

    def store(self, memory: Value, rows: Value, where: Value) -> Value:
        """Write rows into memory; the result is a view of it."""
        sources = (rows, where, memory)
        return Value("set_rows", memory.shape, memory.strides, memory.element, sources, memory.root or memory)

    def copy_into(self, memory: Value, rows: Value, shape: Sequence[int]) -> Value:
        """Copy a value into a part of memory that exists before the graph."""
        target = self.view(memory, shape)
        return Value("cpy", target.shape, target.strides, target.element, (rows, target), target.root)

    # --- frequent operations ---------------------------------------------------------------------

    def matmul(self, width: int, source: Value, device: int, weight: int = 0) -> Value:
        """Times a weight matrix of `weight` bytes that makes rows of `width`."""
        return self.new("mul_mat", (source,), (width,) + source.shape[1:], bound=device, weight=weight)

    def matmul_values(self, left: Value, right: Value) -> Value:
        """Times another value."""
        return self.new("mul_mat", (left, right), (left.shape[1],) + right.shape[1:])

    def matmul_chosen(self, width: int, source: Value, chosen: Value, device: int, weight: int = 0) -> Value:
        """Times the chosen experts' matrices, of `weight` bytes all together: [width, experts used, tokens]."""
        return self.new(
            "mul_mat_id", (source, chosen), (width, chosen.shape[0], source.shape[2]), bound=device, weight=weight
        )

    def cont(self, source: Value, shape: Optional[Sequence[int]] = None) -> Value:
        """A copy without gaps."""
        return self.new("cont", (source,), shape or source.shape, source.element)

    # --- order -----------------------------------------------------------------------------------

    def expand(self, value: Value) -> Value:
        """Add a value and what it needs to the nodes, if they are not there yet."""
        stack = [(value, 0)]
        seen, nodes = self._seen, self.nodes
        while stack:
            current, at = stack.pop()
            if at == 0:
                if id(current) in seen:
                    continue
                seen.add(id(current))
            if at < len(current.sources):
                stack.append((current, at + 1))
                source = current.sources[at]
                if id(source) not in seen:
                    stack.append((source, 0))
            elif current.operation not in ("none", "weight"):
                nodes.append(current)
        return value
