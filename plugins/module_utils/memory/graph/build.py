# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model -> the graph of one full batch, block by block, and from it the compute buffers. Pure.

The graph is the one that llama.cpp reserves memory for when it loads a model: ubatch tokens of `parallel` sequences against full caches
(src/llama-context.cpp `sched_reserve`), every token an output.
"""

from __future__ import annotations

from .. import kv_cache
from . import blocks, encoder, gemma, recurrent
from .reserve import reserve
from .tensors import F16, F32, I32, I64, Graph
from .traits import traits_of


class Builder(object):
    """What the parts of a graph need to know: the model, the batch, where every layer lies, and the inputs made so far."""

    def __init__(
        self, model, kinds, layers, devices, cells, parallel, ubatch, flash, cache_type, streams, outputs, sizes=None
    ):
        self.graph = Graph(devices if sizes else None)
        self.sizes = sizes  # of the weights, where those on the host may be copied to a device
        self.model = model
        self.kinds = kinds
        self.traits = traits_of(model, kinds)
        self.width = model.embedding_length
        self.vocabulary = model.vocab_size
        self.heads = model.head_count or [0] * model.block_count
        self.kv_heads = model.head_count_kv or [0] * model.block_count
        self.windowed = kv_cache.windowed_layers(model)
        self.layers = layers
        self.host = devices
        self.output_device = self.device(model.block_count)
        self.sequences = parallel
        self.streams = streams  # of the KV cache: one a sequence, or one for all
        self.tokens = -(-ubatch // parallel) * parallel  # a whole number of every sequence
        self.wanted = min(ubatch, outputs or ubatch)  # rows of output
        self.cells = cells
        self.flash = flash
        self.cache_type = cache_type
        self.quantized = kv_cache.CACHE_TYPES[cache_type][0] > 1
        self.used_experts = model.expert_used_count or 1
        self.moved = {}
        self.stacked = None
        self._made = {}

    def matrix_device(self, layer, part):
        """The device of a feed-forward matrix ("up", "gate", "down"): the layer's, unless it was moved."""
        if layer not in self.moved:
            return self.device(layer)
        size, target = self.moved[layer]
        entry = self.model.layers[layer]
        # How much was moved tells what: all three matrices, gate and down, or down alone (common/fit.cpp get_overflow_pattern).
        whole = entry.get("expert_bytes") or entry["weight_bytes"]
        parts = (
            ("down",) if size <= 0.45 * whole else ("gate", "down") if size < 0.8 * whole else ("up", "gate", "down")
        )
        if part not in parts:
            return self.device(layer)
        return self.host if target is None else target

    def device(self, layer):
        """Number of the device of a layer; the host is the last."""
        where = self.layers[layer]
        return self.host if where is None else where

    def bytes(self, layer, name):
        """Bytes of a tensor; `layer` None = of the whole model."""
        return self.sizes.of(layer, name) if self.sizes else 0

    def times(self, layer, name, width, value, device=None):
        """A value times a weight matrix, on the device of its layer unless another is given; `layer` None = beside the output layer."""
        if device is None:
            device = self.output_device if layer is None else self.device(layer)
        return self.graph.matmul(width, value, device, self.bytes(layer, name + ".weight"))

    def times_chosen(self, layer, part, width, value, chosen):
        """A value times the chosen experts' "up", "gate", "gate_up" or "down", and plus their bias, where they have one, which lies beside them."""
        device = self.matrix_device(layer, "gate" if part == "gate_up" else part)
        made = self.graph.matmul_chosen(width, value, chosen, device, self.bytes(layer, "ffn_%s_exps.weight" % part))
        bias = "ffn_%s_exps.bias" % part
        if bias not in self.kinds[layer]:
            return made
        return self.graph.like("add_id", made, chosen, bound=device, weight=self.bytes(layer, bias))

    def hyper(self, name):
        """A hyperparameter of the header by its name without the architecture, or None."""
        return kv_cache.hyperparameter(self.model, name)

    def head_sizes(self, layer):
        """(elements of a key, of a value) of one head."""
        return kv_cache.head_sizes(self.model, layer)

    # --- inputs, each made once ------------------------------------------------------------------

    def once(self, key, make):
        """What `make` returned for this key the first time."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def positions(self):
        """Input: positions of the tokens."""
        return self.once(
            "positions",
            lambda: self.graph.given((self.tokens * (4 if self.hyper("rope.dimension_sections") else 1),), I32),
        )

    @property
    def scale(self):
        """Input: temperature of every token (llama4)."""
        return self.once("scale", lambda: self.graph.given((1, 1, self.tokens)))

    def has_positions(self, layer):
        """Whether q and k of a block are rotated."""
        rule = self.traits["no_positions"]
        if rule == "full":
            return self.windowed[layer] or not any(self.windowed)
        return rule != "all" and (not rule or (layer + 1) % rule != 0)

    def pick(self, *values):
        """The rows that are wanted as output; from here on a batch has only those."""
        rows = self.once("outputs", lambda: self.graph.given((self.wanted,), I32))
        self.tokens = self.wanted
        return [self.graph.new("get_rows", (value, rows), (value.shape[0], self.wanted)) for value in values]

    def mask(self, windowed):
        """Input: which cells a token may look at."""
        cells = self.cells[1 if windowed else 0]
        return self.once(
            ("mask", windowed),
            lambda: self.graph.given((cells, self.tokens // self.streams, 1, self.streams), F16 if self.flash else F32),
        )

    def indices(self, which, windowed):
        """Input: cells to write to; without flash attention V is transposed, and every element has its own."""
        count = self.tokens
        if which == "v" and not self.flash:
            count *= max(kv_cache.attention_width(self.model, layer)[1] for layer in range(self.model.block_count))
        return self.once(("indices", which, windowed), lambda: self.graph.given((count,), I64))

    def rotation(self, which, width):
        """Input: matrix that turns the rows of a quantized cache."""
        return self.once(("rotation", which, width), lambda: self.graph.given((width, width)))

    def state_rows(self, which):
        """Numbers of the states to read: "all", or the views of those in the "batch" and of the "rest" (all but one)."""
        rows = self.once("states", lambda: self.graph.given((self.sequences,), I32))
        if which == "all":
            return rows
        return self.once(
            ("states", which),
            lambda: self.graph.view(rows, (self.sequences if which == "batch" else self.sequences - 1,)),
        )

    # --- memory that exists before the graph -----------------------------------------------------

    def cache(self, layer):
        """K and V of a layer: {k, v, cells, streams, rotation}."""
        return self.once(("cache", layer), lambda: self._cache(layer))

    def _cache(self, layer):
        owner = kv_cache.cache_owner(self.model, layer)
        keys, values = kv_cache.attention_width(self.model, owner)
        cells = self.cells[1 if self.windowed[layer] else 0]
        block, size = kv_cache.CACHE_TYPES[self.cache_type]
        element = size / block  # bytes; less than one in a quantized cache
        home = self.device(owner)
        return {
            "k": self.graph.stored((keys, cells, self.streams), element, home),
            "v": self.graph.stored((values, cells, self.streams), element, home),
            "cells": cells,
            "streams": self.streams,
            "rotation": self._rotations(layer),
        }

    def _rotations(self, layer):
        """Widths of the rotations of a quantized cache's k and v rows (llama-kv-cache.cpp `attn_rot_k`, `attn_rot_v`), None where there is none."""
        if not self.quantized or "attn_k_b.weight" in self.kinds[layer]:
            return None, None
        key, value = kv_cache.head_sizes(self.model, layer)
        return largest_power(key) if key % 64 == 0 else None, 64 if value % 64 == 0 else None

    def states(self, layer):
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


def largest_power(size):
    """The largest 64 * 2^n that divides a row."""
    width = 64
    while size % (width * 2) == 0:
        width *= 2
    return width


def embedded(b):
    """Token embeddings on the host, and beside them the way for embeddings that come from outside (images), which is always reserved.

    With n_deepstack_layers (qwen3vl) a row holds what images add to the first blocks as well.
    """
    g = b.graph
    wide = b.width * (1 + (b.hyper("n_deepstack_layers") or 0))
    tokens = g.given((b.tokens,), I32)
    cur = g.expand(g.new("get_rows", (tokens,), (b.width, b.tokens), bound=b.host))
    other = g.expand(g.new("get_rows", (g.given((b.tokens,), I32),), (b.width, b.tokens), bound=b.host))
    if wide > b.width:
        cur, other = (g.expand(g.new("pad", (part,), (wide, b.tokens))) for part in (cur, other))
    g.given((wide, b.tokens))  # embeddings alone, reserved as well though nothing here uses them
    mixed = g.new("dup", (g.given((wide, b.tokens)),), (wide, b.tokens))
    g.expand(g.store(mixed, other, g.given((b.tokens,), I64)))
    if wide > b.width:
        b.stacked = cur
        return g.view(cur, (b.width, b.tokens), cur.strides)
    if b.traits["scaled_input"]:
        cur = g.expand(g.like("scale", cur))
    return cur


def with_stacked(b, cur, layer):
    """Plus what an image adds to one of the first blocks."""
    if b.stacked is None or layer >= b.hyper("n_deepstack_layers"):
        return cur
    return b.graph.like("add", cur, b.graph.view(b.stacked, (b.width, b.tokens), b.stacked.strides))


def block(b, cur, kind, layer, last):
    """One block: mixing tokens, then the feed-forward part, each added to what came in."""
    g = b.graph
    plain = b.traits["layer_norm"]
    came = cur
    scale = b.hyper("residual_scale") or b.traits["residual_scaled"]
    if "attn_norm.weight" in kind:
        cur = blocks.norm(b, cur, True, layer, plain)
        cur = blocks.with_bias(b, cur, kind, "attn_norm.bias", b.device(layer))
    elif b.traits["bare_norms"]:
        cur = blocks.norm(b, cur, False, layer, plain)
    normed = cur
    if "attn_q.weight" in kind and "ssm_in.weight" in kind:
        mixed = blocks.attention(b, normed, kind, layer)
        state = recurrent.mamba2(b, blocks.norm(b, came, True, layer), kind, layer)
        came = g.like("add", g.like("add", mixed, state), came)
        if last:
            (came,) = b.pick(came)
        cur = blocks.norm(b, came, True, layer)
        return g.like("add", blocks.feed_forward(b, cur, kind, layer), came)
    if b.traits["gated_queries"]:
        g.expand(normed)
    cur = mixer(b, normed, kind, layer)
    if cur is None:  # a block is either a mixer or a feed-forward part (nemotron_h), or has lost its mixer (deci)
        if "ffn_norm.weight" in kind:
            normed = blocks.norm(b, came, True, layer)
        out = forward(b, normed, kind, layer)
        if last and "ffn_norm.weight" not in kind:
            out, came = b.pick(out, came)
        return g.like("add", out, came)
    parallel = b.traits["parallel"]
    if last:
        cur, came, normed = b.pick(cur, came, normed)
    if parallel:
        out = forward(b, normed, kind, layer)
        first, second, third = (cur, out, came) if b.traits["attention_first"] else (out, came, cur)
        return g.like("add", g.like("add", first, second), third)
    if b.traits["post_norms"] and "post_attention_norm.weight" in kind:
        cur = blocks.norm(b, cur, True, layer)
    if scale:
        cur = g.like("scale", cur)
    came = total(b, cur, came, 0)
    if not has_forward(kind):
        return came
    cur = came
    if (
        "ffn_norm.weight" in kind
        or "ffn_norm" in kind
        or not b.traits["post_norms"]
        and "post_attention_norm.weight" in kind
    ):
        cur = blocks.norm(b, cur, True, layer, plain)
        cur = blocks.with_bias(b, cur, kind, "ffn_norm.bias", b.device(layer))
    elif b.traits["bare_norms"] or "attn_output_norm.weight" in kind:
        cur = blocks.norm(b, cur, not b.traits["bare_norms"], layer, plain)
    cur = forward(b, cur, kind, layer)
    if "post_ffw_norm.weight" in kind:
        cur = blocks.norm(b, cur, True, layer)
    if scale:
        cur = g.like("scale", cur)
    return total(b, cur, came, 1)


def total(b, made, came, which):
    """What a part made and what came in, added; the first source is the one that may be written over."""
    if b.traits["residual_first"][which]:
        made, came = came, made
    return b.graph.like("add", made, came)


def has_forward(kind):
    """Whether a block has a feed-forward part."""
    return "ffn_up.weight" in kind or "ffn_up_exps.weight" in kind or "ffn_gate_up_exps.weight" in kind


def mixer(b, value, kind, layer):
    """The part of a block that mixes tokens, or None."""
    if "shortconv.conv.weight" in kind:
        return recurrent.short_convolution(b, value, kind, layer)
    if "attn_kv_a_mqa.weight" in kind:
        return blocks.latent_attention(b, value, kind, layer)
    if "ssm_x.weight" in kind:
        return recurrent.mamba(b, value, kind, layer)
    if "ssm_conv1d.weight" in kind and ("attn_gate.weight" in kind or "ssm_ba.weight" in kind):
        return recurrent.delta_net(b, value, kind, layer)
    if "ssm_in.weight" in kind:
        return recurrent.mamba2(b, value, kind, layer)
    if "attn_q.weight" in kind or "attn_qkv.weight" in kind:
        if b.traits["gated_queries"]:
            return blocks.gated_attention(b, value, kind, layer)
        return blocks.attention(b, value, kind, layer)
    if "attn_output.weight" in kind:  # deci: a linear layer in the place of attention
        return b.times(layer, "attn_output", b.width, value)
    return None


def forward(b, value, kind, layer):
    """The feed-forward part of a block: experts or dense."""
    if "ffn_down_exps.weight" in kind:
        return blocks.mixture(b, value, kind, layer)
    return blocks.feed_forward(b, value, kind, layer)


def graph_of(b, order):
    """Build the whole graph over the layers of `order`."""
    g = b.graph
    if b.traits["altup"] or b.traits["gemma4"]:
        cur = gemma.blocks_of(b, embedded, order)
    else:
        cur = embedded(b)
        if b.traits["encoder"] and not b.traits["post_norms"]:
            cur = encoder.with_places(b, cur, b.model.architecture == "bert")
        elif b.traits["places_added"]:
            cur = g.like("add", cur, encoder.places(b, cur))
        for layer in order:
            make = encoder.block if "layer_output_norm.weight" in b.kinds[layer] else block
            cur = with_stacked(b, make(b, cur, b.kinds[layer], layer, layer == order[-1]), layer)
    plain = b.traits["layer_norm"]
    cur.kept = b.traits["keeps_last"]
    if b.traits["outputs_late"]:
        (cur,) = b.pick(cur)
    if b.traits["encoder"] and not b.traits["post_norms"]:
        cur.kept = True
        g.expand(cur)
        return g  # the embeddings
    cur = blocks.norm(b, cur, not b.traits["bare_norms"], None, plain)
    cur = blocks.with_bias(
        b, cur, {"output_norm.bias": 1} if plain and b.traits["norm_bias"] else {}, "output_norm.bias", b.output_device
    )
    cur.kept = True
    if b.traits["encoder"]:
        g.expand(cur)
        return g
    if b.traits["scaled_output"]:
        cur = g.like("scale", cur)
    logits = b.times(None, "output", b.vocabulary, cur)
    if b.hyper("final_logit_softcapping") or b.hyper("logit_scale"):
        logits = g.like("scale", logits)
    logits.kept = True
    g.expand(logits)
    return g


def buffers(
    model,
    kinds,
    slots,
    devices,
    cells,
    parallel,
    ubatch,
    flash,
    cache_type,
    moved=None,
    streams=None,
    outputs=None,
    sizes=None,
):
    """Bytes of the compute buffers of every device and, last, the host.

    Args:
        model: dict of model_info, completed (hyperparameters.complete).
        kinds: for every block its tensors {name: shape}, or None for a block that takes no part.
        slots: device of every block and of the output layer (None = host).
        devices: number of devices.
        cells: (cells of a full, of a windowed layer) of one stream.
        parallel, ubatch, flash, cache_type, moved, outputs: as in compute.compute_by_device.
        streams: of the KV cache; None = one a sequence.
        sizes: kinds.Sizes of the model where the first device computes what has its weights on the host (--op-offload), else None.
    """
    builder = Builder(
        model, kinds, slots, devices, cells, parallel, ubatch, flash, cache_type, streams or parallel, outputs, sizes
    )
    builder.moved = moved or {}
    graph_of(builder, [layer for layer, kind in enumerate(kinds) if kind is not None])
    return reserve(builder.graph, devices, devices > 1 and None not in slots and not moved, offload=sizes is not None)
