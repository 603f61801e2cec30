# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Speculative decoding: what proposes further tokens, and the memory that its context takes. Pure.

llama-server makes a second context for what proposes: the slots, context, batch and devices of the model, every layer
on the devices, one row of logits per slot, and a KV cache of its own type (f16 unless --spec-draft-type-k says
otherwise), whatever that of the model is. Source: tools/server/server-context.cpp `load_model` and common/arg.cpp;
confirmed by llama-server of build 11669 (tests/oracle/engine-speculation.jsonl).
"""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence

from ..model import architecture
from ..model.schema import ModelFacts
from . import compute, kv_cache, rough_estimate
from .graph import heads, kinds
from .graph.traits import traits_of
from .load import DEFAULT_CACHE_TYPE, HEADS, Load
from .remembered import Remembered
from .weights import Moved

# Architectures whose heads were compared with the engine's. The heads of others (bailingmoe3, cohere2moe, deepseek32,
# deepseek4, gemma4-assistant, glm-dsa, glm5-next, hy_v3, mimo2, nemotron_h_moe, qwen4exp, step35, and those for which
# llama.cpp has no `graph_mtp`) are estimated, and the plan says so (placement/tell/warnings.py).
KNOWN = frozenset(("deepseek2", "glm4moe", "qwen35", "qwen35moe", "qwen3next"))
ESTIMATE_PERCENT = 125
# What the estimate of the compute buffer gives for the heads of KNOWN, in terms of the engine's
# (tests/oracle/engine-speculation.jsonl): it is never below.
ESTIMATE_RANGE = (1.25, 2.6)


@dataclasses.dataclass(frozen=True)
class Drafting:
    """Bytes on one device of what proposes tokens: its weights, its KV cache, its compute buffer."""

    weight_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of them."""
        return self.weight_bytes + self.kv_bytes + self.compute_bytes


def has_heads(model: ModelFacts) -> bool:
    """Whether a model has blocks that predict further tokens."""
    return architecture.trunk_blocks(model) < model.block_count


def own_heads(model: ModelFacts, load: Load) -> bool:
    """Whether the model's own heads propose: the engine loads their weights then, and only then."""
    return load.speculation == HEADS and load.drafted > 0 and model.draft is None and has_heads(model)


def proposes(model: ModelFacts, load: Load) -> bool:
    """Whether there is a context that proposes tokens."""
    return load.drafted > 0 and load.speculation is not None and (model.draft is not None or own_heads(model, load))


def is_estimated(model: ModelFacts, load: Load) -> bool:
    """Whether the compute buffer of what proposes is a careful estimate."""
    return proposes(model, load) and not is_compared(model, load.speculation)


def is_compared(model: ModelFacts, kind: Optional[str]) -> bool:
    """Whether the compute buffer of what would propose for a model was compared with the engine's.

    Args:
        model: the model, with its draft model where it has one.
        kind: as Load.speculation.
    """
    proposing = model if model.draft is None else model.draft
    if kind == HEADS and has_heads(proposing):
        return _known(proposing, kinds.kinds_of(proposing, heads=True))
    return not compute.is_estimated(proposing)


def _known(model: ModelFacts, found: List[Optional[kinds.Kind]]) -> bool:
    return bool(found) and model.architecture in KNOWN and traits_of(model, found).known


def load_of(load: Load) -> Load:
    """The Load of the context that proposes, from that of the model."""
    return dataclasses.replace(
        load,
        cache_type=DEFAULT_CACHE_TYPE,
        cache_type_v=None,
        outputs=None if load.outputs is None else load.parallel,
        speculation=None,
        drafted=0,
    )


def heads_by_device(
    model: ModelFacts,
    layer_devices: Sequence[Optional[int]],
    device_count: int,
    load: Load,
    moved: Optional[Moved] = None,
) -> List[Drafting]:
    """KV cache and compute buffer of a model's heads on every device; their weights are counted with the model's.

    Args:
        model: the ModelFacts of the model that has the heads.
        layer_devices: device of each of its layers (weights.assign_layers).
        device_count: number of devices.
        load: the Load of their context (load_of).
        moved: as compute.compute_by_device takes it; heads share the model's weights, wherever those are.
    """
    cached = [0] * device_count
    for index in range(architecture.trunk_blocks(model), model.block_count):
        device = layer_devices[index]
        if device is not None:
            cached[device] += kv_cache.attention_bytes(model, load, index)
    found = kinds.kinds_of(model, heads=True)
    computed = _answers.of(model, found, layer_devices, device_count, load, moved)
    return [Drafting(0, *pair) for pair in zip(cached, computed)]


def _computed(
    model: ModelFacts,
    found: List[Optional[kinds.Kind]],
    layer_devices: List[Optional[int]],
    device_count: int,
    load: Load,
    moved: Moved,
) -> List[int]:
    """Bytes of the compute buffer of a model's heads on every device; `found`: their tensors (kinds.kinds_of)."""
    try:
        sizes = heads.buffers(model, found, layer_devices, device_count, load, moved)[:device_count] if found else None
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, AttributeError, AssertionError):
        sizes = None  # tensors or dimensions that no head of a known architecture has
    if sizes is not None and _known(model, found):
        return sizes
    # Nothing is known of these heads: they count like a whole model on their devices, and a quarter more.
    careful = rough_estimate.compute_by_device(model, layer_devices, device_count, load, moved)
    used = set(layer_devices[architecture.trunk_blocks(model) :])
    return [
        max(pair) * ESTIMATE_PERCENT // 100 if device in used else 0
        for device, pair in enumerate(zip(careful, sizes or careful))
    ]


_answers = Remembered(_computed, 1024)
