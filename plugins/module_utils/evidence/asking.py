# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The one question that models are asked, and what is kept of their answers so that answers.py can judge them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Optional

from ..common.names import served_name
from ..ollama.client import OllamaClient, OllamaError
from .answers import REPLACEMENT
from .shapes import Answer

PROMPT = "Write one sentence about the sea."
#: Likeliest tokens that are asked for with each token.
LIKELIEST = 5
#: How long an embedding model on a GPU makes vectors to be seen computing: NVML's own sample period, at most.
SAMPLE_SECONDS = 1.0
#: Where a header says how long the vectors are: of models whose last layer has another width, and of all others.
_WIDTHS = ("embedding_length_out", "dense_3_feat_out", "dense_2_feat_out", "embedding_length")


def options(tokens: int) -> dict[str, Any]:
    """Return the options of a request for so many tokens, without chance. None of them makes a server load again."""
    return {"temperature": 0, "num_predict": tokens}


def content_of(model: Mapping[str, Any], file: Optional[str]) -> str:
    """Return what replicas have in common, "" where that is not known.

    The name is part of it: two models of one file may have other templates or system texts, and answer otherwise.

    Args:
        model: of the plan.
        file: base name of the model's blob.
    """
    parts = (served_name(model), file, model.get("kv_cache_type"), model.get("adapters") or "")
    return " ".join(map(str, parts)) if file else ""


def answer_of(answer: Answer, found: Mapping[str, Any]) -> Answer:
    """Return an answer with the text and the tokens of what /api/generate gave."""
    listed = found.get("logprobs")
    tokens = tuple(
        (_token(one), one.get("logprob"), _likeliest(one))
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    )
    return dataclasses.replace(answer, text=str(found.get("response") or ""), tokens=tokens)


def vector_of(
    answer: Answer,
    client: OllamaClient,
    keep_alive: int | str,
    timeout: float,
    seconds: float = 0,
    load_options: Optional[dict[str, Any]] = None,
) -> Answer:
    """Return an answer with the vector that an embedding model gives of the question, or why it gives none.

    Args:
        answer: without a text.
        client: of its server.
        keep_alive: as the API takes it.
        timeout: seconds without a byte.
        seconds: for how long it is asked again, so that it is seen computing: one vector takes milliseconds.
        load_options: that the model was loaded with, where others than its own may have been given: a request without
            them would load it again.
    """
    until = time.monotonic() + seconds
    try:
        vector = client.embed(answer.model, PROMPT, keep_alive, timeout, load_options)
        while time.monotonic() < until:
            client.embed(answer.model, PROMPT, keep_alive, timeout, load_options)
        facts = client.show(answer.model).get("model_info") or {}
    except OllamaError as error:
        return dataclasses.replace(answer, error=error.message)
    return dataclasses.replace(answer, vector=tuple(vector), width=_width(facts))


def _likeliest(token: Mapping[str, Any]) -> tuple[tuple[str, Optional[float]], ...]:
    listed = token.get("top_logprobs")
    found = [one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)]
    return tuple((_token(one), one.get("logprob")) for one in found)


def _token(entry: Mapping[str, Any]) -> str:
    """The text of a token. One that is a part of a letter has its bytes ("\\xe6"), so that it differs from others.

    Its text in the answer is U+FFFD, as that of all such parts; `bytes` are those of the token where the release tells.
    """
    text, known = str(entry.get("token")), entry.get("bytes")
    if REPLACEMENT not in text or not isinstance(known, list):
        return text
    try:
        return bytes(known).decode("utf-8", "backslashreplace")
    except (TypeError, ValueError):
        return text


def _width(facts: Mapping[str, Any]) -> Optional[int]:
    known = [facts.get("%s.%s" % (facts.get("general.architecture"), name)) for name in _WIDTHS]
    return next((width for width in known if isinstance(width, int) and width > 1), None)
