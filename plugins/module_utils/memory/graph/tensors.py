# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Values of one batch as nodes of a graph: shapes, strides, sources and the device that a node is bound to. Pure.

The names are those of ggml operations, of which only what decides about memory is kept: whether an operation makes a new value, may write over one
of its sources (ggml-alloc.c, `ggml_op_can_inplace`) or only looks at another value (a view). Everything is 32 bit floats unless said otherwise.
"""

from __future__ import annotations

F32, F16, I32, I64 = 4, 2, 4, 8  # bytes of an element

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


class Value(object):
    """One tensor. `root` is the value that a view looks at; `home` the device of its memory if it exists before the graph (caches);
    `bound` the device that the operation must run on (that of its weights), where None leaves it to its neighbours."""

    __slots__ = (
        "operation",
        "shape",
        "strides",
        "element",
        "sources",
        "root",
        "home",
        "bound",
        "given",
        "kept",
        "looks",
        "device",
        "copies",
        "children",
        "views",
        "allocated",
        "place",
        "where",
        "bytes",
    )

    def __init__(self, operation, shape, strides, element, sources, root=None, bound=None):
        self.operation = operation
        self.shape = shape
        self.strides = strides
        self.element = element
        self.sources = sources
        self.root = root
        self.bound = bound
        self.home = None
        self.given = False  # an input: filled in by the host before the graph runs
        self.kept = False  # an output: never freed
        self.looks = False  # a view operation, nothing is computed
        self.device = None
        self.copies = None
        self.children = self.views = 0
        self.allocated = False
        self.place = self.where = None
        self.bytes = extent(shape, strides, element)


def contiguous(shape, element):
    """Strides (bytes) of a value without gaps."""
    first = element * shape[0]
    second = first * shape[1]
    return (element, first, second, second * shape[2])


def extent(shape, strides, element):
    """Bytes from the first to the last element."""
    size = element
    for length, stride in zip(shape, strides):
        if not length:
            return 0
        size += (length - 1) * stride
    return int(size)


def four(shape):
    """A shape with its missing dimensions."""
    return tuple(shape) + (1,) * (4 - len(shape))


class Graph(object):
    """Collects nodes in the order in which the engine computes them (depth first, sources from left to right)."""

    def __init__(self, host=None):
        """`host`: number of the host where weights on it are to be sources of their operations, as they can be copied to a device then (reserve.py)."""
        self.host = host
        self.nodes = []
        self.inputs = []
        self._seen = set()

    # --- making values ---------------------------------------------------------------------------

    def new(self, operation, sources, shape, element=F32, bound=None, weight=None):
        """The result of an operation; `weight`: bytes of the weights that bind it, None where they are a row of the result (norms, biases)."""
        shape = four(shape)
        return Value(
            operation,
            shape,
            contiguous(shape, element),
            element,
            self.with_weight(sources, shape, bound, weight),
            bound=bound,
        )

    def like(self, operation, source, *others, **more):
        """The result of an operation that has the shape of its first source."""
        return self.new(
            operation, (source,) + others, source.shape, source.element, more.get("bound"), more.get("weight")
        )

    def with_weight(self, sources, shape, bound, size):
        """The sources of an operation with its weights among them, if they lie on the host: a matrix first, anything else last."""
        if bound is None or bound != self.host:
            return sources
        weight = self.new("weight", (), (F32 * shape[0] if size is None else size,), 1)
        weight.home = bound
        return sources + (weight,) if size is None else (weight,) + sources

    def given(self, shape, element=F32):
        """An input of the graph."""
        value = self.new("none", (), shape, element)
        value.given = True
        self.inputs.append(value)
        return value

    def stored(self, shape, element, home):
        """Memory that exists before the graph: a cache on device `home`."""
        value = self.new("none", (), shape, element)
        value.home = home
        return value

    def view(self, source, shape, strides=None):
        """A look at part of a value; without strides a reshape."""
        shape = four(shape)
        value = Value(
            "view",
            shape,
            strides or contiguous(shape, source.element),
            source.element,
            (source,),
            root=source.root or source,
        )
        value.looks = True
        return value

    def permute(self, source, order):
        """Dimensions in another order: dimension i becomes dimension order[i]."""
        shape, strides = [0] * 4, [0] * 4
        for index, place in enumerate(order):
            shape[place], strides[place] = source.shape[index], source.strides[index]
        return self.view(source, tuple(shape), tuple(strides))

    def transpose(self, source):
        """Rows and columns exchanged, as a view."""
        return self.permute(source, (1, 0, 2, 3))

    def store(self, memory, rows, where):
        """Write rows into memory; the result is a view of it."""
        value = Value(
            "set_rows", memory.shape, memory.strides, memory.element, (rows, where, memory), root=memory.root or memory
        )
        return value

    def copy_into(self, memory, rows, shape):
        """Copy a value into a part of memory that exists before the graph."""
        target = self.view(memory, shape)
        return Value("cpy", target.shape, target.strides, target.element, (rows, target), root=target.root)

    # --- frequent operations ---------------------------------------------------------------------

    def matmul(self, width, source, device, weight=0):
        """Times a weight matrix of `weight` bytes that makes rows of `width`."""
        return self.new("mul_mat", (source,), (width,) + source.shape[1:], bound=device, weight=weight)

    def matmul_values(self, left, right):
        """Times another value."""
        return self.new("mul_mat", (left, right), (left.shape[1],) + right.shape[1:])

    def matmul_chosen(self, width, source, chosen, device, weight=0):
        """Times the chosen experts' matrices, of `weight` bytes all together: [width, experts used, tokens]."""
        return self.new(
            "mul_mat_id", (source, chosen), (width, chosen.shape[0], source.shape[2]), bound=device, weight=weight
        )

    def cont(self, source, shape=None):
        """A copy without gaps."""
        return self.new("cont", (source,), shape or source.shape, source.element)

    # --- order -----------------------------------------------------------------------------------

    def expand(self, value):
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
