# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The graph of the blocks that predict further tokens (nextn, multi-token prediction), and its compute buffers. Pure.

Such a block takes the embedding of a token and what the last block before it made for that token, joins them, and is a
block like any other with an output layer behind it. llama-server runs it in a context of its own
(`--spec-type draft-mtp`). Order of operations: `graph_mtp` in llama.cpp src/models, build 11669.
"""

from __future__ import annotations

from typing import List, Optional

from ...model.schema import ModelFacts
from ..load import Load
from ..weights import Moved
from .block import block
from .graph_builder import Builder
from .kinds import Kind
from .norms import norm
from .reserve import reserve
from .tensors import I32, Graph

PICKED_INSIDE = ("qwen3next",)  # the rows that are wanted are picked inside the block, not behind its norm


def graph_of(b: Builder, layer: int) -> Graph:
    """Build the graph of one such block and of the output layer."""
    g, kind = b.graph, b.kinds[layer]
    tokens = g.given((b.tokens,), I32)
    came = g.given((b.width, b.tokens))
    where = b.device(layer) if "nextn.embed_tokens.weight" in kind else b.host
    embedded = g.new("get_rows", (tokens,), (b.width, b.tokens), bound=where)
    first = norm(b, came, True, layer)
    second = norm(b, embedded, True, layer)
    cur = g.new("concat", (second, first), (2 * b.width, b.tokens))
    cur = b.times(layer, "nextn.eh_proj", b.width, cur)
    inside = b.model.architecture in PICKED_INSIDE
    cur = block(b, cur, kind, layer, inside)
    cur.kept = True
    g.expand(cur)
    cur = norm(b, cur, True, layer)
    if not inside:
        (cur,) = b.pick(cur)
    logits = b.times(None, "output", b.vocabulary, cur)
    logits.kept = True
    g.expand(logits)
    return g


def buffers(
    model: ModelFacts,
    kinds: List[Optional[Kind]],
    layer_devices: List[Optional[int]],
    devices: int,
    load: Load,
    moved: Optional[Moved] = None,
) -> List[int]:
    """Bytes of the compute buffers of every device and, last, the host; the blocks run one at a time.

    Args:
        model: the ModelFacts, completed (hyperparameters.complete).
        kinds: for every block its tensors, None for those that are no heads (kinds.kinds_of).
        layer_devices: device of every block and of the output layer (None = host).
        devices: number of devices.
        load: the Load of the context that they run in.
        moved: as compute.compute_by_device takes it.
    """
    pipeline = devices > 1 and None not in layer_devices and not moved
    sizes = [0] * (devices + 1)
    for layer, kind in enumerate(kinds):
        if kind is not None:
            builder = Builder(model, kinds, layer_devices, devices, load, moved)
            found = reserve(graph_of(builder, layer), devices, pipeline, offload=load.op_offload)
            sizes = [max(pair) for pair in zip(sizes, found)]
    return sizes
