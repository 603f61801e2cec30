# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Figures of requests: median and spread of what several repeats have measured. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ..common.names import served_name
from ..evidence.generations import speed_of

#: Settings of a model in a plan: {key: words}.
_SETTINGS = {
    "context_length": "context length",
    "parallel": "slots",
    "kv_cache_type": "KV cache type",
    "flash_attention": "flash attention",
}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is measured.

    Attributes:
        repeats: how often each figure is measured.
        tokens: most tokens of an answer.
        prompts: about how many tokens the prompts have.
        loads: how often each model is unloaded and loaded; 0 for not at all.
        quiet_timeout: seconds to wait until nobody else is served.
        timeout: seconds without a byte after which a request is given up, for each that a server has at the time.
    """

    repeats: int = 3
    tokens: int = 64
    prompts: Sequence[int] = (32, 512)
    loads: int = 1
    quiet_timeout: float = 60.0
    timeout: float = 300.0


@dataclasses.dataclass(frozen=True)
class Request:
    """One request: the tokens that it had and got, and the times in seconds.

    Attributes:
        first_seconds: until the first token was here, the reading of the prompt included.
        seconds: until the answer was here.
        tokens_per_second: while it generated, by the server's own clock; None where it does not tell.
    """

    prompt_tokens: int
    tokens: int
    first_seconds: float
    seconds: float
    tokens_per_second: Optional[float]

    @classmethod
    def of(cls, answer: Mapping[str, Any], first_seconds: float, seconds: float) -> Request:
        """Return a request from the last line of the answer to /api/generate (durations in nanoseconds)."""
        read, tokens = (_whole(answer.get(key)) for key in ("prompt_eval_count", "eval_count"))
        return cls(read, tokens, first_seconds, seconds, speed_of(answer))


@dataclasses.dataclass(frozen=True)
class Batch:
    """Requests that ran at the same time, the seconds from the first to the last, and whether others were served."""

    requests: Sequence[Request]
    seconds: float
    disturbed: bool = False


def spread(values: Iterable[Optional[float]]) -> Optional[dict[str, Any]]:
    """Return {median, q1, q3, repeats} of what was measured; None where nothing was.

    Between the quartiles q1 and q3 is the middle half: one repeat that is disturbed does not move them much.
    """
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    first, _middle, third = statistics.quantiles(known, n=4, method="inclusive") if len(known) > 1 else known * 3
    figures = (("median", statistics.median(known)), ("q1", first), ("q3", third))
    return dict({name: round(value, 4) for name, value in figures}, repeats=len(known))


def measured(batches: Sequence[Batch]) -> dict[str, Any]:
    """Return the figures of repeats of one batch."""
    requests = [request for batch in batches for request in batch.requests]
    return {
        "prompt_tokens": int(statistics.median(request.prompt_tokens for request in requests)),
        "first_token_seconds": spread(request.first_seconds for request in requests),
        "tokens_per_second": spread(request.tokens_per_second for request in requests),
        "total_tokens_per_second": spread(_rate(batch, sum(one.tokens for one in batch.requests)) for batch in batches),
        "requests_per_minute": spread(_rate(batch, 60.0 * len(batch.requests)) for batch in batches),
        "disturbed": sum(batch.disturbed for batch in batches),
    }


def planned(plan: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return {model: {setting: value}} of a plan: what makes a model fast or slow, and can differ between two plans."""
    found: dict[str, dict[str, Any]] = {}
    for instance in plan.get("instances") or []:
        for model in instance["models"]:
            entry = found.setdefault(served_name(model), {"instances": 0, "GPUs": 0})
            entry["instances"] += 1
            entry["GPUs"] += len(instance.get("gpu_uuids") or [])
            entry.update((words, model[key]) for key, words in _SETTINGS.items() if model.get(key) is not None)
    return found


def levels(slots: int) -> list[int]:
    """Return how many requests run at the same time: 1, 2, 4, ... and the number of slots."""
    found, streams = [], 1
    while streams < slots:
        found.append(streams)
        streams *= 2
    return [*found, max(slots, 1)]


def _rate(batch: Batch, amount: float) -> Optional[float]:
    return amount / batch.seconds if batch.seconds > 0 else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
