# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model -> the graph of one full batch, block by block, and from it the compute buffers. Pure.

The graph is the one that llama.cpp reserves memory for when it loads a model: a batch of tokens of all slots against
full caches (src/llama-context.cpp `sched_reserve`); as many tokens are outputs as the load says.
"""

from __future__ import annotations

from typing import List, Optional

from ...model.schema import ModelFacts
from ..load import Load
from ..weights import Moved
from . import encoder, gemma, repeats
from .block import block
from .graph_builder import Builder
from .kinds import Kind
from .norms import norm
from .reserve import reserve
from .tensors import I32, I64, Graph, Value

MEAN = 1  # pooling_type: the mean of all tokens; others take one token (llama.cpp `build_pooling`)


def embedded(b: Builder) -> Value:
    """Token embeddings on the host, and beside them what is always reserved for embeddings from outside (images).

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
    if b.traits.scaled_input:
        cur = g.expand(g.like("scale", cur))
    return cur


def with_stacked(b: Builder, cur: Value, layer: int) -> Value:
    """Plus what an image adds to one of the first blocks."""
    if b.stacked is None or layer >= b.hyper("n_deepstack_layers"):
        return cur
    return b.graph.like("add", cur, b.graph.view(b.stacked, (b.width, b.tokens), b.stacked.strides))


def graph_of(b: Builder, order: List[int]) -> Graph:
    """Build the whole graph over the layers of `order`."""
    if b.traits.altup or b.traits.gemma4:
        cur = gemma.blocks_of(b, embedded, order)
    else:
        cur = embedded(b)
        if b.traits.encoder and not b.traits.post_norms:
            cur = encoder.with_token_types(b, cur, b.model.architecture == "bert")
        elif b.traits.places_added:
            cur = b.graph.like("add", cur, encoder.position_embeddings(b, cur))
        for layer in order:
            make = encoder.block if "layer_output_norm.weight" in b.kinds[layer] else block
            cur = with_stacked(b, make(b, cur, b.kinds[layer], layer, layer == order[-1]), layer)
    return with_output(b, cur)


def with_output(b: Builder, cur: Value) -> Graph:
    """The graph after the last block: the output norm and the logits, where the model has them and does not embed."""
    g = b.graph
    plain = b.traits.layer_norm
    cur.kept = b.traits.keeps_last
    if b.traits.outputs_late:
        (cur,) = b.pick(cur)
    if b.traits.encoder and not b.traits.post_norms:
        return pooled(b, cur)
    cur = norm(b, cur, not b.traits.bare_norms, None, plain)
    if plain and b.traits.norm_bias:
        cur = g.like("add", cur, bound=b.output_device)
    cur.kept = True
    if b.traits.encoder or b.embedding:
        return pooled(b, cur)
    if b.traits.scaled_output:
        cur = g.like("scale", cur)
    logits = b.times(None, "output", b.vocabulary, cur)
    if b.hyper("final_logit_softcapping") or b.hyper("logit_scale"):
        logits = g.like("scale", logits)
    logits.kept = True
    g.expand(logits)
    return g


def pooled(b: Builder, cur: Value) -> Graph:
    """The graph with the embeddings of the tokens and, where the model has a pooling type, of every text."""
    g = b.graph
    cur.kept = True
    g.expand(cur)
    if not b.embedding or not b.hyper("pooling_type"):
        return g
    if b.hyper("pooling_type") == MEAN:
        shares = g.given((cur.shape[1], b.sequences))
        made = g.matmul_values(g.cont(g.transpose(cur)), shares)
    else:
        made = g.new("get_rows", (cur, g.given((b.sequences,), I32)), (b.width, b.sequences))
    made.kept = True
    g.expand(made)
    return g


def buffers(
    model: ModelFacts,
    kinds: List[Optional[Kind]],
    layer_devices: List[Optional[int]],
    devices: int,
    load: Load,
    moved: Optional[Moved] = None,
) -> List[int]:
    """Bytes of the compute buffers of every device and, last, the host.

    Args:
        model: the ModelFacts, completed (hyperparameters.complete).
        kinds: for every block its tensors {name: shape}, or None for a block that takes no part.
        layer_devices: device of every block and of the output layer (None = host).
        devices: number of devices.
        load: the Load. With `op_offload` the first device computes what has its weights on the host.
        moved: as compute.compute_by_device takes it.
    """
    builder = Builder(model, kinds, layer_devices, devices, load, moved)
    graph_of(builder, repeats.needed(builder, [layer for layer, kind in enumerate(kinds) if kind is not None]))
    pipeline = devices > 1 and None not in layer_devices and not moved
    return reserve(builder.graph, devices, pipeline, offload=load.op_offload)
