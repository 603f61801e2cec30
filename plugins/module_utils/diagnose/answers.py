# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the answers of models: whether they can be those of a model at all, never how good they are. Pure.

A fault of copies from GPU to GPU, or of a GPU's memory, leaves the bytes of a model where they should be and the
utilization as it should be, and the answers are garbage (llama.cpp #21910): one token for ever, or noise.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from typing import Any, Optional

from .shapes import CERTAIN, LIKELY, Answer, Finding, HostEvidence

#: As many tokens as a repetition has to have; fewer may be an answer.
_LEAST_TOKENS = 8
#: Categories of Unicode that no text of a model has: control, format, private use, unassigned, surrogates.
_UNPRINTABLE = ("Cc", "Co", "Cn", "Cs")
_REPLACEMENT = "\ufffd"
#: Vectors of the same text on two GPUs differ by their rounding only; 1 is the same direction.
_LEAST_COSINE = 0.99
_REMEDY = (
    "Load the model on one GPU and ask it again. If that answer is well, copies between the GPUs are damaged: take "
    "GGML_CUDA_P2P out of the service, and look at the IOMMU and at Xid in the kernel's log. If not, pull the model "
    "again, and look for memory errors of the GPU."
)


def answer_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what is wrong with the answers of models, where they were asked."""
    for one in evidence.answers:
        yield from _vector(one) if one.vector is not None else _text(one)
    by_digest: dict[str, list[Answer]] = {}
    for one in evidence.answers:
        if one.digest:
            by_digest.setdefault(one.digest, []).append(one)
    for replicas in by_digest.values():
        for other in replicas[1:]:
            yield from _disagreement(replicas[0], other)


def _finding(kind: str, seen: str, one: Answer, confidence: str) -> Finding:
    return Finding(kind, "%s of %s %s" % (one.model, one.server, seen), confidence, _REMEDY, subject=one.server)


def _text(one: Answer) -> Iterator[Finding]:
    values = [token[1] for token in one.tokens]
    wrong = [value for value in values if value is None or not math.isfinite(value) or value > 0]
    if wrong or "nan" in (one.error or "").lower().split():
        seen = one.error or "a log-probability is %s" % wrong[0]
        yield _finding("answer_no_number", "computed no number: %s" % seen, one, CERTAIN)
    elif len(values) >= _LEAST_TOKENS and not any(values):
        seen = "answers %d tokens that all have the log-probability 0: Ollama writes that for what is no number"
        yield _finding("answer_no_number", seen % len(values), one, LIKELY)
    tokens = [token[0] for token in one.tokens] or list(one.text.strip())
    if len(tokens) >= _LEAST_TOKENS and len(set(tokens)) == 1:
        yield _finding("answer_one_token", "answers %r, %d times" % (tokens[0], len(tokens)), one, LIKELY)
    shown = [letter for letter in one.text if not letter.isspace()]
    odd = [letter for letter in shown if letter == _REPLACEMENT or unicodedata.category(letter) in _UNPRINTABLE]
    if len(shown) >= _LEAST_TOKENS and 2 * len(odd) > len(shown):
        seen = "answers %d characters, %d of which cannot be printed" % (len(shown), len(odd))
        yield _finding("answer_unprintable", seen, one, CERTAIN)


def _vector(one: Answer) -> Iterator[Finding]:
    numbers = list(one.vector or ())
    bad = [value for value in numbers if isinstance(value, bool) or not isinstance(value, (int, float))]
    if bad or not all(math.isfinite(value) for value in numbers) or not any(numbers):
        yield _finding("vector_wrong", "gives a vector that is no direction (%s)" % str(numbers[:3]), one, CERTAIN)
    elif one.width and len(numbers) != one.width:
        seen = "gives a vector of %d numbers, and the model has %d" % (len(numbers), one.width)
        yield _finding("vector_wrong", seen, one, CERTAIN)


def _disagreement(one: Answer, other: Answer) -> Iterator[Finding]:
    """Two servers with the same model: one whose first token the other does not have among its likeliest."""
    if one.vector and other.vector:
        cosine = _cosine(one.vector, other.vector)
        if cosine is not None and cosine < _LEAST_COSINE:
            seen = "gives another vector than %s does (cosine %.3f)" % (other.server, cosine)
            yield _finding("replicas_disagree", seen, one, LIKELY)
        return
    if not one.tokens or not other.tokens:
        return
    (first, _value, likeliest), (second, _other_value, others) = one.tokens[0], other.tokens[0]
    if first not in (second, *others) and second not in (first, *likeliest):
        seen = "begins its answer with %r, and %s with %r, which the other does not even consider" % (
            first,
            other.server,
            second,
        )
        yield _finding("replicas_disagree", seen, one, LIKELY)


def _cosine(one: tuple[Any, ...], other: tuple[Any, ...]) -> Optional[float]:
    try:
        product = sum(a * b for a, b in zip(one, other))
        lengths = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
    except TypeError:  # not all are numbers, which is another finding
        return None
    return product / lengths if lengths and math.isfinite(lengths) and len(one) == len(other) else None
