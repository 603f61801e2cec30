# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The builder of a graph: what its parts need to know, and the inputs and caches that they share. Pure."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, cast

from ...model import architecture
from ...model.schema import Layer, ModelFacts
from .. import kv_cache
from ..load import Load
from ..weights import Moved
from .kinds import Kind, Sizes
from .tensors import F16, F32, I32, I64, Graph, Value
from .traits import traits_of

PARTS = ("down", "gate", "up")  # in the order in which llama.cpp's fit takes them from a layer


class Cache(NamedTuple):
    """K and V of a layer: their memory, cells of a stream, number of streams, and the widths of the rotations of a
    quantized cache's K and V rows (None where there is none)."""

    k: Value
    v: Value
    cells: int
    streams: int
    rotations: Tuple[Optional[int], Optional[int]]


class Builder:
    """What the parts of a graph need to know: model, load, device of every layer, and the inputs made so far.

    Args:
        model: the ModelFacts, completed.
        kinds: for every block its tensors, or None for a block that takes no part (kinds.kinds_of).
        layer_devices: device of every block and of the output layer (None = host).
        devices: number of devices; the host is the device of that number.
        load: the Load.
        moved: feed-forward weights that are elsewhere than their layer: {layer: (bytes, device or None)}.

    Attributes:
        tokens: rows that flow through the graph: the batch, from `pick` on only those of the output.
        wanted: rows of output.
        cells: (cells of a full, of a windowed layer) of one stream.
        kept_states: recurrent states of a slot that a block writes.
        sequences, streams: slots of the server, and streams of the KV cache: one per slot, or one for all.
    """

    def __init__(
        self,
        model: ModelFacts,
        kinds: List[Optional[Kind]],
        layer_devices: List[Optional[int]],
        devices: int,
        load: Load,
        moved: Optional[Moved] = None,
    ) -> None:
        # Sizes of the weights are only needed where those on the host may be copied to a device.
        self.sizes = Sizes(model, kinds) if load.op_offload else None
        self.graph = Graph(devices if self.sizes else None)
        self.model = model
        self.kinds = cast(List[Kind], kinds)  # a graph is built over the blocks that take part only
        self.traits = traits_of(model, kinds)
        self.width = model.embedding_length
        self.vocabulary = model.vocab_size
        self.heads = model.head_count or [0] * model.block_count
        self.kv_heads = model.head_count_kv or [0] * model.block_count
        self.windowed = architecture.windowed_layers(model)
        self.layer_devices = layer_devices
        self.host = devices
        self.output_device = self.device(model.block_count)
        self.sequences = load.parallel
        self.streams = load.streams
        self.tokens = -(-load.batch // load.parallel) * load.parallel  # a whole number for every sequence
        self.wanted = min(load.batch, load.outputs or load.batch)
        self.cells = tuple(kv_cache.cells(load, window)[0] for window in (None, architecture.window_tokens(model)))
        self.flash = load.flash_attention
        self.embedding = load.embedding
        self.cache_type = load.cache_type
        self.kept_states = kv_cache.states_of_slot(model, load)
        self.used_experts = model.expert_used_count or 1
        self.moved = moved or {}
        self.stacked: Optional[Value] = None
        self._made: Dict[Any, Any] = {}

    def matrix_device(self, layer: int, part: str, experts: bool = False) -> int:
        """The device of a feed-forward matrix: the layer's, unless it was moved.

        Args:
            layer: the block.
            part: "up", "gate" or "down"; the router is a "gate".
            experts: whether it is a matrix of the experts that are chosen.
        """
        if layer not in self.moved:
            return self.device(layer)
        size, target = self.moved[layer]
        if not took(self.model.layers[layer], size, part, experts):
            return self.device(layer)
        return self.host if target is None else target

    def device(self, layer: int) -> int:
        """Number of the device of a layer; the host is the last."""
        where = self.layer_devices[layer]
        return self.host if where is None else where

    def bytes(self, layer: Optional[int], name: str) -> int:
        """Bytes of a tensor; `layer` None = of the whole model."""
        return self.sizes.of(layer, name) if self.sizes else 0

    def times(self, layer: Optional[int], name: str, width: int, value: Value, device: Optional[int] = None) -> Value:
        """A value times a weight matrix that makes rows of `width`.

        It runs on the device of its layer unless another is given; `layer` None = beside the output layer.
        """
        if device is None:
            device = self.output_device if layer is None else self.device(layer)
        made = self.graph.matmul(width, value, device, self.bytes(layer, name + ".weight"))
        for adapter in self.model.adapters:
            if layer is not None and adapter.layer_bytes.get(layer):
                # Which matrices it changes is not known here: all may be.
                small = self.graph.matmul(adapter.rank, value, device)
                change = self.graph.like("scale", self.graph.matmul(width, small, device))
                made = self.graph.like("add", made, change)
        return made

    def times_chosen(self, layer: int, part: str, width: int, value: Value, chosen: Value) -> Value:
        """A value times the chosen experts' "up", "gate", "gate_up" or "down", plus their bias where they have one."""
        device = self.matrix_device(layer, "gate" if part == "gate_up" else part, experts=True)
        made = self.graph.matmul_chosen(width, value, chosen, device, self.bytes(layer, "ffn_%s_exps.weight" % part))
        bias = "ffn_%s_exps.bias" % part
        if bias not in self.kinds[layer]:
            return made
        return self.graph.like("add_id", made, chosen, bound=device, weight=self.bytes(layer, bias))

    def hyper(self, name: str) -> Any:
        """A hyperparameter of the header by its name without the architecture, or None."""
        return architecture.hyperparameter(self.model, name)

    def head_sizes(self, layer: int) -> Tuple[int, int]:
        """(elements of a key, of a value) of one head."""
        return architecture.head_sizes(self.model, layer)

    # --- inputs, each made once ------------------------------------------------------------------

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returned for this key the first time."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def positions(self) -> Value:
        """Input: positions of the tokens."""
        return self.once(
            "positions",
            lambda: self.graph.given((self.tokens * (4 if self.hyper("rope.dimension_sections") else 1),), I32),
        )

    @property
    def scale(self) -> Value:
        """Input: temperature of every token (llama4)."""
        return self.once("scale", lambda: self.graph.given((1, 1, self.tokens)))

    def has_positions(self, layer: int) -> bool:
        """Whether q and k of a block are rotated."""
        rule = self.traits.no_positions
        if rule == "full":
            return self.windowed[layer] or not any(self.windowed)
        return rule != "all" and not (isinstance(rule, int) and (layer + 1) % rule == 0)

    def pick(self, *values: Value) -> List[Value]:
        """The rows that are wanted as output; from here on a batch has only those."""
        rows = self.once("outputs", lambda: self.graph.given((self.wanted,), I32))
        self.tokens = self.wanted
        return [self.graph.new("get_rows", (value, rows), (value.shape[0], self.wanted)) for value in values]

    def mask(self, windowed: bool) -> Value:
        """Input: which cells a token may look at."""
        cells = self.cells[1 if windowed else 0]
        return self.once(
            ("mask", windowed),
            lambda: self.graph.given((cells, self.tokens // self.streams, 1, self.streams), F16 if self.flash else F32),
        )

    def indices(self, which: str, windowed: bool) -> Value:
        """Input: cells to write to; without flash attention V is transposed, and every element has its own."""
        count = self.tokens
        if which == "v" and not self.flash:
            count *= max(kv_cache.attention_width(self.model, layer)[1] for layer in range(self.model.block_count))
        return self.once(("indices", which, windowed), lambda: self.graph.given((count,), I64))

    def rotation(self, which: str, width: int, windowed: bool) -> Value:
        """Input: matrix that turns the rows of a quantized cache; full and windowed layers have a cache each, with
        matrices of its own (llama-graph.cpp `build_attn_inp_kv_iswa`)."""
        return self.once(("rotation", which, width, windowed), lambda: self.graph.given((width, width)))

    def state_rows(self, which: str) -> Value:
        """Numbers of the states to read: "all", or views of those in the "batch" and of the "rest" (all but one)."""
        rows = self.once("states", lambda: self.graph.given((self.sequences,), I32))
        if which == "all":
            return rows
        return self.once(
            ("states", which),
            lambda: self.graph.view(rows, (self.sequences if which == "batch" else self.sequences - 1,)),
        )

    # --- memory that exists before the graph -----------------------------------------------------

    def cache(self, layer: int) -> Cache:
        """K and V of a layer."""
        return self.once(("cache", layer), lambda: self._cache(layer))

    def _cache(self, layer):
        owner = architecture.cache_owner(self.model, layer)
        keys, values = kv_cache.attention_width(self.model, owner)
        cells = self.cells[1 if self.windowed[layer] else 0]
        block, size = kv_cache.CACHE_TYPES[self.cache_type]
        element = size / block  # bytes; less than one in a quantized cache
        home = self.device(owner)
        k = self.graph.stored((keys, cells, self.streams), element, home)
        v = self.graph.stored((values, cells, self.streams), element, home)
        return Cache(k, v, cells, self.streams, self._rotations(layer))

    def _rotations(self, layer):
        """Widths of the rotations of K and V rows (llama-kv-cache.cpp `attn_rot_k`, `attn_rot_v`)."""
        if kv_cache.CACHE_TYPES[self.cache_type][0] == 1 or "attn_k_b.weight" in self.kinds[layer]:
            return None, None
        key, value = architecture.head_sizes(self.model, layer)
        return largest_power(key) if key % 64 == 0 else None, 64 if value % 64 == 0 else None

    def states(self, layer: int) -> Tuple[Value, Value]:
        """(convolution state, recurrent state) of a layer."""
        r, s = kv_cache.state_elements(self.model)
        home = self.device(layer)
        return self.once(
            ("state memory", layer),
            lambda: (
                self.graph.stored((r, self.sequences), F32, home),
                self.graph.stored((max(s, 1), self.sequences), F32, home),
            ),
        )


def took(entry: Layer, size: int, part: str, experts: bool) -> bool:
    """Whether what took `size` bytes from a layer took one of its feed-forward matrices.

    llama.cpp's fit takes the experts, or all tensors whose names begin with ffn_down, with ffn_gate too, or with ffn_up
    too: those of the shared expert among them, and ffn_gate_inp, the router (common/fit.cpp `get_overflow_pattern`).

    Args:
        entry: the layer.
        size: bytes that were moved.
        part, experts: the matrix, as Builder.matrix_device takes it.
    """
    if not size:
        return False
    if size == entry.expert_bytes:
        return experts
    if entry.ffn_down_bytes is None:
        # Only the experts are known, as thirds of one size (releases/llama_fit.py `Overflow`).
        whole = entry.expert_bytes or entry.weight_bytes
        if entry.expert_bytes and not experts:
            return False
        return part in (PARTS[:1] if size <= 0.45 * whole else PARTS[:2] if size < 0.8 * whole else PARTS)
    taken = 0
    for name in PARTS:
        taken += getattr(entry, "ffn_%s_bytes" % name) or 0
        if name == part:
            return taken <= size
    return False


def largest_power(size: int) -> int:
    """The largest 64 * 2^n that divides a row."""
    width = 64
    while size % (width * 2) == 0:
        width *= 2
    return width
