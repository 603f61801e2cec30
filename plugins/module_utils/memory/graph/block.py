# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One block of a model as values of a graph: norms, the part that mixes tokens, the feed-forward part. Pure.

Which parts a block has is read from its tensors (`kind`), what its tensors do not show from the traits.
"""

from __future__ import annotations

from typing import Optional

from . import attention, latent_attention, recurrent
from .feed_forward import feed_forward, forward
from .graph_builder import Builder
from .kinds import Kind
from .norms import norm, with_bias
from .tensors import Value


def block(b: Builder, cur: Value, kind: Kind, layer: int, last: bool) -> Value:
    """One block: mixing tokens, then the feed-forward part, each added to what came in.

    Args:
        b: the Builder.
        cur: what comes in.
        kind: tensors of the block.
        layer: its number.
        last: whether it is the last one, after which only the rows of the output go on.
    """
    came = cur
    cur = _input_norm(b, cur, kind, layer)
    if "attn_q.weight" in kind and "ssm_in.weight" in kind:
        return _two_mixers(b, came, cur, layer, last)
    if b.traits.gated_queries:
        b.graph.expand(cur)
    mixed = mixer(b, _mixer_input(b, came, cur, kind, layer), kind, layer)
    if mixed is None:
        return _without_mixer(b, came, cur, layer, last)
    if last:
        mixed, came, cur = b.pick(mixed, came, cur)
    if b.traits.parallel:
        out = forward(b, cur, kind, layer)
        first, second, third = ((mixed, out, came)[which] for which in b.traits.parallel_order)
        return b.graph.like("add", b.graph.like("add", first, second), third)
    if b.traits.post_norms and "post_attention_norm.weight" in kind:
        mixed = norm(b, mixed, True, layer)
    came = total(b, _scaled(b, mixed), came, 0)
    if not has_forward(kind):
        return came
    out = forward(b, _forward_norm(b, came, kind, layer), kind, layer)
    if "post_ffw_norm.weight" in kind:
        out = norm(b, out, True, layer)
    return total(b, _scaled(b, out), came, 1)


def _input_norm(b, cur, kind, layer):
    """The norm before the mixer, where the block has one."""
    plain = b.traits.layer_norm
    if "attn_norm.weight" in kind:
        return with_bias(b, norm(b, cur, True, layer, plain), kind, "attn_norm.bias", b.device(layer))
    return norm(b, cur, False, layer, plain) if b.traits.bare_norms else cur


def _mixer_input(b, came, normed, kind, layer):
    """What the mixer works on: the normed input, or one with a norm of its own (src/models/falcon.cpp, the 40B)."""
    if not b.traits.parallel or "attn_norm_2.weight" not in kind:
        return normed
    own = norm(b, came, True, layer, b.traits.layer_norm)
    return with_bias(b, own, kind, "attn_norm_2.bias", b.device(layer))


def _forward_norm(b, cur, kind, layer):
    """The norm before the feed-forward part, where the block has one."""
    plain = b.traits.layer_norm
    if (
        "ffn_norm.weight" in kind
        or "ffn_norm" in kind
        or not b.traits.post_norms
        and "post_attention_norm.weight" in kind
    ):
        return with_bias(b, norm(b, cur, True, layer, plain), kind, "ffn_norm.bias", b.device(layer))
    if b.traits.bare_norms or "attn_output_norm.weight" in kind:
        return norm(b, cur, not b.traits.bare_norms, layer, plain)
    return cur


def _two_mixers(b, came, normed, layer, last):
    """A block with attention and a recurrent part beside each other (falcon-h1)."""
    g, kind = b.graph, b.kinds[layer]
    mixed = attention.attention(b, normed, kind, layer)
    state = recurrent.mamba2(b, norm(b, came, True, layer), kind, layer)
    came = g.like("add", g.like("add", mixed, state), came)
    if last:
        (came,) = b.pick(came)
    cur = norm(b, came, True, layer)
    return g.like("add", feed_forward(b, cur, kind, layer), came)


def _without_mixer(b, came, normed, layer, last):
    """A block that is a feed-forward part only (nemotron_h), or has lost its mixer (deci)."""
    kind = b.kinds[layer]
    if "ffn_norm.weight" in kind:
        normed = norm(b, came, True, layer)
    out = forward(b, normed, kind, layer)
    if last and "ffn_norm.weight" not in kind:
        out, came = b.pick(out, came)
    return b.graph.like("add", out, came)


def _scaled(b, value):
    """What a part made, scaled where the model scales it before it is added."""
    if b.hyper("residual_scale") or b.traits.residual_scaled:
        return b.graph.like("scale", value)
    return value


def total(b: Builder, made: Value, came: Value, which: int) -> Value:
    """What a part made and what came in, added; the first source is the one that may be written over."""
    if b.traits.residual_first[which]:
        made, came = came, made
    return b.graph.like("add", made, came)


def has_forward(kind: Kind) -> bool:
    """Whether a block has a feed-forward part."""
    return "ffn_up.weight" in kind or "ffn_up_exps.weight" in kind or "ffn_gate_up_exps.weight" in kind


def mixer(b: Builder, value: Value, kind: Kind, layer: int) -> Optional[Value]:
    """The part of a block that mixes tokens, or None."""
    if "shortconv.conv.weight" in kind:
        return recurrent.short_convolution(b, value, kind, layer)
    if "attn_kv_a_mqa.weight" in kind:
        return latent_attention.latent_attention(b, value, kind, layer)
    if "ssm_x.weight" in kind:
        return recurrent.mamba(b, value, kind, layer)
    if "ssm_conv1d.weight" in kind and ("attn_gate.weight" in kind or "ssm_ba.weight" in kind):
        return recurrent.delta_net(b, value, kind, layer)
    if "ssm_in.weight" in kind:
        return recurrent.mamba2(b, value, kind, layer)
    if "attn_q.weight" in kind or "attn_qkv.weight" in kind:
        if b.traits.gated_queries:
            return attention.gated_attention(b, value, kind, layer)
        return attention.attention(b, value, kind, layer)
    if "attn_output.weight" in kind:  # deci: a linear layer in the place of attention
        return b.times(layer, "attn_output", b.width, value)
    return None
