# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The settings of one model: each is checked against what the model, the parameters and the environment say.

Every function raises PlacementError, one sentence with the value and the remedy, where a value cannot be.
"""

from __future__ import annotations

import re
from typing import Any, Optional, Union

from ...common import names, sizes
from ...memory import kv_cache
from ...model.schema import ModelFacts
from ...releases import limits
from ..errors import PlacementError
from ..shapes import ALL, AUTO, STRATEGIES
from .parameters import whole_number

ON_DEMAND_SECONDS = 300  # as Ollama itself keeps a model after a request
DEFAULT_CONTEXT = 8192  # tokens; that of Ollama depends on the GPUs' memory

Entry = dict[str, Any]  # of placement_info's models


def number(value: Any, what: str, least: int) -> Optional[int]:
    """A whole number, or None where nothing is given."""
    return None if value is None or value == "" else whole_number(value, what, least)


def switch(value: Any, what: str) -> Optional[bool]:
    """True or False, or None where nothing is given."""
    if value is None or value == "" or value == AUTO:
        return None
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        return str(value).lower() in ("true", "yes", "on", "1")
    raise PlacementError("%s is %r; give true, false or leave it out." % (what, value))


def strategy(entry: Entry, name: str) -> str:
    """One of STRATEGIES."""
    asked = entry.get("strategy") or AUTO
    if asked not in STRATEGIES:
        raise PlacementError("Strategy '%s' of %s is unknown; use one of %s." % (asked, name, ", ".join(STRATEGIES)))
    return asked


def cpu_experts(
    entry: Entry, facts: ModelFacts, allow_cpu_offload: bool, num_gpu: Optional[int], name: str
) -> Union[int, str, None]:
    """The first layers whose experts stay on the host: a number, "all", or None.

    llama.cpp moves no layer to the CPU by itself once the user moves tensors (common/fit.cpp), so the two ways to use
    the CPU exclude each other.
    """
    asked = entry.get("cpu_experts")
    if asked is None or str(asked).strip() in ("", "0"):
        return None
    first = next((index for index, layer in enumerate(facts.layers) if layer.expert_bytes), None)
    if first is None:
        raise PlacementError(
            "cpu_experts %s of %s: the model has no experts (architecture %s), so none can stay on the CPU; leave it "
            "out, or use allow_cpu_offload: true." % (asked, name, facts.architecture)
        )
    layers = num_gpu is not None and 0 <= num_gpu <= facts.block_count
    if allow_cpu_offload or layers:
        raise PlacementError(
            "cpu_experts %s of %s does not go with %s, because the engine moves no layers where experts are moved; %s."
            % (
                asked,
                name,
                "num_gpu %d" % (num_gpu or 0) if layers else "allow_cpu_offload: true",
                "leave num_gpu out" if layers else "give one of them",
            )
        )
    if str(asked).strip().lower() == ALL:
        return ALL
    count = whole_number(asked, "cpu_experts of %s" % name, 1)
    if count > len(facts.layers):
        raise PlacementError(
            "cpu_experts %d of %s: the model has %d layers; give at most that, or all."
            % (count, name, len(facts.layers))
        )
    if count <= first:
        raise PlacementError(
            "cpu_experts %d of %s moves nothing: its first %d layers have no experts; give more than that, or all."
            % (count, name, first)
        )
    return count


def replicas(entry: Entry, asked_strategy: str, name: str) -> Optional[int]:
    """Number of instances, or None; split and spread are one instance."""
    count = number(entry.get("replicas"), "replicas of %s" % name, 1)
    if count and count > 1 and asked_strategy in ("split", "spread"):
        raise PlacementError(
            "replicas %d of %s does not go with strategy %s, which is one instance; use replicate, or leave replicas "
            "out." % (count, name, asked_strategy)
        )
    return count


def flash_attention(entry: Entry, environment: dict[str, str], name: str) -> Optional[bool]:
    """Whether flash attention is forced on or off; None = the engine decides."""
    asked = switch(entry.get("flash_attention"), "flash_attention of %s" % name)
    if asked is None and environment.get("OLLAMA_FLASH_ATTENTION"):
        return environment["OLLAMA_FLASH_ATTENTION"] == "1"
    return asked


def digest(entry: Entry, facts: ModelFacts, name: str) -> Optional[str]:
    """The digest to insist on, with its "sha256:", or None; the facts must be of the model that has it."""
    asked = entry.get("digest")
    if not asked:
        return None
    try:
        pinned = names.normalise_digest(asked)
    except names.InvalidName:
        raise PlacementError(
            "digest '%s' of %s is not a SHA-256; give sha256: and 64 hexadecimal digits." % (asked, name)
        )
    if facts.digest and pinned != facts.digest:
        raise PlacementError(
            "%s has the digest %s and not the pinned %s; change the pin, or use a registry that still has that model."
            % (name, facts.digest, pinned)
        )
    return pinned


def resident(entry: Entry, asked_strategy: str, count: Optional[int], name: str) -> bool:
    """Whether a model stays loaded; one that does not has one instance."""
    if switch(entry.get("resident"), "resident of %s" % name) is not False:
        return True
    if asked_strategy == "replicate" or (count or 1) > 1:
        raise PlacementError(
            "%s has resident: false and %s; a model on demand has one instance: leave one of them out."
            % (name, "strategy replicate" if asked_strategy == "replicate" else "replicas %d" % (count or 0))
        )
    return False


def keep_alive(value: Any, name: str, stays: bool = True) -> Union[int, str]:
    """Seconds as a number (negative = for ever) or a duration as text; Ollama does not take the text "-1".

    Args:
        value: what the user gives.
        name: of the model.
        stays: whether the model is resident. One that is not goes after ON_DEMAND_SECONDS without a request.
    """
    if value is None or value == "" or (not stays and str(value) == "-1"):
        return -1 if stays else ON_DEMAND_SECONDS
    if not stays and str(value).startswith("-"):
        raise PlacementError(
            "%s has resident: false and keep_alive %s, which keeps it loaded for ever; give a duration such as 5m."
            % (name, value)
        )
    found = sizes.duration(value)
    if found is None:
        raise PlacementError(
            "keep_alive %r of %s is not a duration; give seconds, %sone such as 30m or 24h."
            % (value, name, "-1 for ever, or " if stays else "or ")
        )
    if sizes.is_zero(found):
        raise PlacementError(
            "keep_alive %s of %s would unload the model at once; give %sa duration such as 30m or 24h."
            % (value, name, "-1 for ever, or " if stays else "")
        )
    return found


def context_length(
    entry: Entry, parameters: dict[str, Any], environment: dict[str, str], facts: ModelFacts, name: str
) -> tuple[Optional[int], list[str]]:
    """(tokens of one slot, or None for the largest context that fits; warnings)."""
    trained = facts.context_length or 0
    asked = entry.get("context_length")
    if asked is None or asked == "":
        asked = parameters.get("num_ctx")
    elif parameters.get("num_ctx") is not None and str(asked) != str(parameters["num_ctx"]):
        raise PlacementError(
            "%s has context_length %s and num_ctx %d, which are the same setting; give one of them."
            % (name, asked, parameters["num_ctx"])
        )
    if asked is None:
        asked = environment.get("OLLAMA_CONTEXT_LENGTH")
        if asked in (None, "", "0"):
            return min(DEFAULT_CONTEXT, trained), []
    if str(asked).strip().lower() == AUTO:
        return None, []
    if not isinstance(asked, (int, float)) and not re.match(r"^[+-]?[0-9]+$", str(asked).strip()):
        raise PlacementError(
            "context_length %r of %s is not a number of tokens; give one such as 32768, or auto for the largest that "
            "fits." % (asked, name)
        )
    tokens = whole_number(asked, "context_length of %s" % name, 4)
    if tokens <= trained:
        return tokens, []
    return trained, [
        "%s was trained for %d tokens, so Ollama takes that instead of the context_length of %d."
        % (name, trained, tokens)
    ]


def cache_type(
    entry: Entry, environment: dict[str, str], facts: ModelFacts, flash: Optional[bool], name: str
) -> Optional[str]:
    """Type of the KV cache, or None = Ollama's default.

    Args:
        flash: whether flash attention is forced on or off, or None.
    """
    value = entry.get("kv_cache_type") or environment.get("OLLAMA_KV_CACHE_TYPE")
    if value is None or value == "":
        return None
    asked = str(value).strip().lower()
    if asked not in kv_cache.CACHE_TYPES:
        raise PlacementError(
            "kv_cache_type '%s' of %s is unknown; use one of %s." % (value, name, limits.ADVISED_CACHE_TYPES)
        )
    block = kv_cache.CACHE_TYPES[asked][0]
    if (facts.key_length or 0) % block or (facts.value_length or 0) % block:
        raise PlacementError(
            "kv_cache_type %s of %s has blocks of %d, which do not divide its head size of %d; use f16."
            % (asked, name, block, facts.key_length or 0)
        )
    if block > 1 and flash is False:
        raise PlacementError(
            "kv_cache_type %s of %s needs flash attention, which is switched off; allow it or use f16." % (asked, name)
        )
    return asked


def ubatch(entry: Entry, parameters: dict[str, Any], name: str) -> Optional[int]:
    """Tokens of a batch, or None = Ollama chooses."""
    asked = number(entry.get("ubatch"), "ubatch of %s" % name, 1)
    batch = parameters.get("num_batch")
    if asked is not None and batch is not None and asked != batch:
        raise PlacementError(
            "%s has ubatch %d and num_batch %d, which Ollama makes one setting; give one of them."
            % (name, asked, batch)
        )
    return batch if asked is None else asked
