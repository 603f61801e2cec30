# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models generate at the same time, and whether an answer is one. Pure."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from ..common.names import InvalidName, key_of
from .gpu_memory import plausible
from .planned import planned_uuids

#: Fewer tokens tell no speed. The engine starts its clock at the first token, so that n tokens have only n-1 timed
#: steps: one token takes "1 us", which would be a million tokens/s.
LEAST_TIMED_TOKENS = 8


def rounds(instances: list[dict[str, Any]]) -> list[list[tuple[dict, dict]]]:
    """Return the models in rounds: no two models of a round share a GPU or an instance.

    Returns:
        [[(instance, model)]]: the generations of one inner list may run at the same time.
    """
    result: list[tuple[list[tuple[dict, dict]], set[str]]] = []
    for instance in instances:
        for model in instance["models"]:
            takes = set(planned_uuids(model)) | {instance["name"]}
            for chosen, taken in result:
                if not taken & takes:
                    chosen.append((instance, model))
                    taken |= takes
                    break
            else:
                result.append(([(instance, model)], set(takes)))
    return [chosen for chosen, _taken in result]


def answer_problem(answer: Mapping[str, Any], name: str) -> Optional[str]:
    """Return why the answer to /api/generate is not one of a model, None if it is.

    Args:
        answer: of the server, with status 200.
        name: of the model that was asked.
    """
    if answer.get("done") is not True:
        return "the answer is not complete"
    model = answer.get("model")
    if model is not None and not _is_named(model, name):
        return "the answer is that of %s" % model
    count = answer.get("eval_count")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        return "the answer has no token"
    return None


def speed_of(answer: Mapping[str, Any]) -> Optional[float]:
    """Return the tokens/s of an answer to /api/generate by the server's own clock; None where it tells none.

    Args:
        answer: of the server (durations in nanoseconds).
    """
    spent, tokens = (plausible(answer.get(name)) for name in ("eval_duration", "eval_count"))
    return tokens * 1e9 / spent if spent and tokens and tokens >= LEAST_TIMED_TOKENS else None


def _is_named(model: Any, name: str) -> bool:
    try:
        return key_of(str(model)) == key_of(name)
    except InvalidName:
        return False
