# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The facts of a model, as model_info returned them or as a user wrote them: checked before they are used."""

from __future__ import annotations

from typing import Any

from ...model import hyperparameters
from ...model.schema import ModelFacts
from ..errors import PlacementError

# What memory/ and releases/ cannot do without.
NEEDED_FACTS = (
    "architecture",
    "block_count",
    "context_length",
    "embedding_length",
    "head_count",
    "head_count_kv",
    "key_length",
    "value_length",
    "vocab_size",
    "file_bytes",
    "layers",
)
_AT_LEAST_ONE = ("block_count", "context_length", "embedding_length", "vocab_size")
_AT_LEAST_ZERO = (
    "file_bytes",
    "size_bytes",
    "output_bytes",
    "embedding_bytes",
    "token_embedding_bytes",
    "projector_bytes",
    "parameter_count",
    "feed_forward_length",
    "key_length",
    "value_length",
    "key_length_mla",
    "value_length_mla",
    "kv_lora_rank",
    "rope_dimension_count",
    "sliding_window",
    "attention_chunk_size",
    "expert_count",
    "expert_used_count",
    "expert_shared_count",
    "expert_feed_forward_length",
    "leading_dense_block_count",
    "full_attention_interval",
    "shared_kv_layers",
)
#: Far beyond all models; with numbers that somebody made up the search would go on for minutes.
_MOST_HEADS = 65536
#: Twice what llama.cpp takes (LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS in src/llama-hparams.h).
_AT_MOST = {"block_count": 1024, "expert_count": 1024}
_REMEDY = "pass what model_info returns, unchanged"


def model_facts(facts: Any, name: str) -> ModelFacts:
    """The facts of a model with the defaults of llama.cpp filled in.

    Args:
        facts: dict of model_info.
        name: the model's name, for the message.

    Raises:
        PlacementError: something is missing, or is not what a header can hold.
    """
    if not isinstance(facts, dict) or not facts:
        raise PlacementError(
            "Model %s comes without its facts; run model_info for it and pass what it returns as `model`." % name
        )
    _check(facts, name)
    _check_parameters(facts, name)
    _check_adapters(facts, name)
    _check_draft(facts, name)
    completed = hyperparameters.complete(facts)
    known = dict(vars(completed), block_count=completed.block_count or None)
    missing = [key for key in NEEDED_FACTS if known[key] in (None, "", [])]
    if missing:
        raise PlacementError(
            "The header of %s does not contain %s, so its memory cannot be predicted; use another build of the model."
            % (name, ", ".join(missing))
        )
    if not completed.file_bytes:
        raise PlacementError("The facts of %s say that its file has 0 bytes; %s." % (name, _REMEDY))
    return completed


def _check(facts: dict[str, Any], name: str) -> None:
    """Check the types and sizes of what is there."""
    for key, least in [(key, 1) for key in _AT_LEAST_ONE] + [(key, 0) for key in _AT_LEAST_ZERO]:
        _check_number(facts.get(key), key, least, name)
    _check_heads(facts, name)
    _check_layers(facts, name)
    _check_most(facts, name)
    _check_texts(facts, name)


def _check_parameters(facts: dict[str, Any], name: str) -> None:
    value = facts.get("parameters")
    if value is not None and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        raise PlacementError(
            "The facts of %s have the parameters %.80r, which are no dictionary; %s." % (name, value, _REMEDY)
        )


def _check_adapters(facts: dict[str, Any], name: str) -> None:
    value = facts.get("adapters")
    listed = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    for adapter in listed:
        sizes = adapter.get("layer_bytes") or {} if isinstance(adapter, dict) else None
        if not isinstance(sizes, dict) or not all(
            str(block).isdigit() and _whole(size, 0) for block, size in sizes.items()
        ):
            raise PlacementError(
                "The facts of %s have the adapter %.80r, which has no bytes by layer; %s." % (name, adapter, _REMEDY)
            )
        for key in ("size_bytes", "other_bytes", "embedding_bytes", "rank"):
            _check_number(adapter.get(key), "adapters[].%s" % key, 0, name)


def _check_draft(facts: dict[str, Any], name: str) -> None:
    draft = facts.get("draft")
    if draft is None:
        return
    if not isinstance(draft, dict) or draft.get("draft") or draft.get("adapters"):
        raise PlacementError("The facts of %s have the draft model %.80r, which is none; %s." % (name, draft, _REMEDY))
    _check(draft, "the draft model of %s" % name)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_number(value: Any, key: str, least: int, name: str) -> None:
    if value is not None and value != "" and not _whole(value, least):
        raise PlacementError(
            "The facts of %s have %s %.80r, which is not a whole number of at least %d; %s."
            % (name, key, value, least, _REMEDY)
        )


def _check_most(facts: dict[str, Any], name: str) -> None:
    for key, most in _AT_MOST.items():
        value = facts.get(key)
        if _whole(value, most + 1):
            raise PlacementError(
                "The facts of %s have %s %s, and no model has more than %d; %s." % (name, key, value, most, _REMEDY)
            )


def _check_heads(facts: dict[str, Any], name: str) -> None:
    """Check head_count and head_count_kv: numbers, or lists with one number for each layer."""
    for key in ("head_count", "head_count_kv"):
        value = facts.get(key)
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if not isinstance(value, (list, tuple)):
            _check_number(value, key, 0, name)
        elif not all(_whole(number, 0) for number in value):
            raise PlacementError(
                "The facts of %s have %s %.80r, which are not whole numbers of at least 0; %s."
                % (name, key, value, _REMEDY)
            )
        if any(_whole(number, _MOST_HEADS + 1) for number in numbers):
            raise PlacementError(
                "The facts of %s have %s %.80r, and no model has more than %d heads; %s."
                % (name, key, value, _MOST_HEADS, _REMEDY)
            )


def _check_texts(facts: dict[str, Any], name: str) -> None:
    architecture, capabilities = facts.get("architecture"), facts.get("capabilities")
    if architecture is not None and not isinstance(architecture, str):
        raise PlacementError(
            "The facts of %s have the architecture %.80r, which is not a string; %s." % (name, architecture, _REMEDY)
        )
    if capabilities is not None and not (
        isinstance(capabilities, (list, tuple)) and all(isinstance(one, str) for one in capabilities)
    ):
        raise PlacementError(
            "The facts of %s have the capabilities %.80r, which are not a list of strings; %s."
            % (name, capabilities, _REMEDY)
        )


def _check_layers(facts: dict[str, Any], name: str) -> None:
    layers, blocks = facts.get("layers"), facts.get("block_count")
    if layers in (None, "", []) or blocks in (None, ""):
        return
    if not isinstance(layers, (list, tuple)) or len(layers) != blocks:
        count = len(layers) if isinstance(layers, (list, tuple)) else "no list of"
        raise PlacementError(
            "The facts of %s have %s layers for a block_count of %d; %s." % (name, count, blocks, _REMEDY)
        )
    for place, layer in enumerate(layers):
        if (
            not isinstance(layer, dict)
            or not _whole(layer.get("weight_bytes"), 0)
            or not _whole(layer.get("expert_bytes") or 0, 0)
        ):
            raise PlacementError(
                "Layer %d of %s is %.80r, which has no weight_bytes; %s." % (place, name, layer, _REMEDY)
            )
    # Some layers of a model may have none (deci), but not all: a header without tensors has no model behind it.
    if not any(layer["weight_bytes"] for layer in layers):
        raise PlacementError("None of the %d layers of %s has weights; %s." % (len(layers), name, _REMEDY))
