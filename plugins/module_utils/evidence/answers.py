# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether answers can be those of a model at all, never how good they are. Pure.

A fault of copies from GPU to GPU, or of a GPU's memory, leaves the bytes of a model where they should be and the
utilization as it should be, and the answers are garbage (llama.cpp #21910): one token for ever, or noise.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

from .shapes import Answer

#: As many tokens as a repetition has to have; fewer may be an answer.
LEAST_TOKENS = 8
#: So many of one token at the end of an answer are no end, unless it is white space: small models fill up with lines.
#: So many letters may be one token, such as a line of hyphens.
LEAST_AT_THE_END = 16
#: How many times as likely as the next one a replica's first token has to be (in natural logarithms: 2.7 times), so
#: that another replica has to begin with the same. GPUs of two models round otherwise, which moves log-probabilities by
#: some hundredths, and may turn the order of two tokens that are about as likely. Later tokens follow from the ones
#: before, so that replicas that are well may go apart there.
CLEAR_GAP = 1.0
#: Vectors of the same text on two GPUs differ by their rounding only; 1 is the same direction.
LEAST_COSINE = 0.99
#: Categories of Unicode that no text of a model has: control, private use, unassigned, surrogates.
_UNPRINTABLE = ("Cc", "Co", "Cn", "Cs")
#: What stands for bytes that are no text.
REPLACEMENT = "\ufffd"
#: No probability is above 1, but for the rounding of its logarithm.
_ROUNDING = 1e-3
REMEDY = (
    "Load the model on one GPU and ask it again. If this answer is good, copies between the GPUs are damaged: remove "
    "GGML_CUDA_P2P from the service, and check the IOMMU and Xid in journalctl -k. Otherwise pull the model again, and "
    "check the GPU for memory errors."
)


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with an answer: the kind of finding, what was seen, and whether nothing else can explain it."""

    finding: str
    seen: str
    certain: bool = False


def faults(answer: Answer) -> list[Fault]:
    """Return what no model answers, [] for what may be an answer of one."""
    return list(_of_vector(answer) if answer.vector is not None else _of_text(answer))


@dataclasses.dataclass(frozen=True)
class Compared:
    """An answer beside those of the replicas: the fault that it disagrees with most of them, None where it does not;
    and whether it could be compared with any."""

    answer: Answer
    is_known: bool
    fault: Optional[Fault] = None


def compared(answers: Iterable[Answer]) -> Iterator[Compared]:
    """Yield the answers that have replicas, beside these. One that is wrong by itself is not held against others.

    An answer is at fault where it disagrees with more than half of the others: of two that disagree, both are told, as
    it is not known which one is wrong.
    """
    by_content: dict[str, list[Answer]] = {}
    for one in answers:
        if one.content and not faults(one):
            by_content.setdefault(one.content, []).append(one)
    for replicas in by_content.values():
        for one in replicas if len(replicas) > 1 else []:
            others = [other for other in replicas if comparable(one, other)]
            seen = [text for text in (disagreement(one, other) for other in others) if text]
            fault = Fault("replicas_disagree", seen[0]) if 2 * len(seen) > len(others) else None
            yield Compared(one, bool(others), fault)


def comparable(one: Answer, other: Answer) -> bool:
    """Return whether the answers of two replicas can be held against each other."""
    if one is other or one.content != other.content:
        return False
    if one.vector is not None and other.vector is not None:
        return len(one.vector) != len(other.vector) or _cosine(one.vector, other.vector) is not None
    return bool(_first(one) and _first(other))


def disagreement(one: Answer, other: Answer) -> Optional[str]:
    """Return how an answer differs from that of another replica, with which it is comparable; None where it may not."""
    lengths = len(one.vector or ()), len(other.vector or ())
    if lengths[0] != lengths[1]:
        return "gives a vector of %d numbers, and %s one of %d" % (lengths[0], other.server, lengths[1])
    cosine = _cosine(one.vector or (), other.vector or ())
    if cosine is not None:
        different = "gives another vector than %s does (cosine %.3f)" % (other.server, cosine)
        return different if cosine < LEAST_COSINE else None
    (first, gap), (second, other_gap) = _first(one)[0], _first(other)[0]
    if first == second or max(gap, other_gap) < CLEAR_GAP:
        return None
    return "begins its answer with %r, and %s with %r (log-probability %.2f and %.2f above the next token)" % (
        first,
        other.server,
        second,
        gap,
        other_gap,
    )


def _first(answer: Answer) -> list[tuple[str, float]]:
    """[(the likeliest first token, by how much more likely it is than the next one)], [] where that is not told.

    What was generated is not looked at: penalties of the model's parameters may have taken another one."""
    listed = answer.tokens[0][2] if answer.tokens else ()
    known = sorted(((value or 0.0, text) for text, value in listed if _is_number(value)), reverse=True)
    return [(known[0][1], known[0][0] - known[1][0])] if len(known) > 1 else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _of_text(one: Answer) -> Iterator[Fault]:
    values = [token[1] for token in one.tokens]
    wrong = [value for value in values if not _is_number(value) or (value or 0) > _ROUNDING]
    # A probability of 1 leaves nothing to the tokens beside it. Those that llama-server takes from a draft come with
    # the logarithm 0 and none beside them, and say nothing (tools/server/server-context.cpp).
    zeros = [token for token in one.tokens if token[1] == 0 and any(value == 0 for _text, value in token[2][1:])]
    if wrong or "nan" in (one.error or "").lower().split():
        seen = one.error or "a log-probability is %s" % wrong[0]
        yield Fault("answer_no_number", "computed no number: %s" % seen, True)
    elif zeros:
        seen = (
            "answers %r with the log-probability 0, as the tokens beside it: Ollama writes that for what is no number"
        )
        yield Fault("answer_no_number", seen % zeros[0][0], True)
    tokens = [token[0] for token in one.tokens] or list(one.text.strip())
    times = _times_at_the_end(tokens)
    if times >= LEAST_TOKENS and times == len(tokens):
        yield Fault("answer_one_token", "answers %r, %d times" % (tokens[0], times))
    elif one.tokens and times >= LEAST_AT_THE_END and tokens[-1].strip():
        yield Fault("answer_one_token", "ends its answer with %r, %d times" % (tokens[-1], times))
    shown = [letter for letter in one.text if not letter.isspace()]
    odd = [letter for letter in shown if letter == REPLACEMENT or unicodedata.category(letter) in _UNPRINTABLE]
    if len(shown) >= LEAST_TOKENS and 2 * len(odd) > len(shown):
        seen = "answers %d characters, %d of which cannot be printed" % (len(shown), len(odd))
        yield Fault("answer_unprintable", seen, True)


def _times_at_the_end(tokens: Sequence[str]) -> int:
    """How often the last token comes without another one between.

    Models write a letter of many scripts as several tokens of some bytes each. Where these bytes are not known, all
    such tokens read U+FFFD, and need not be the same one. What they make together is in the text.
    """
    if tokens and REPLACEMENT in tokens[-1]:
        return 1
    return next((n for n, token in enumerate(reversed(tokens)) if token != tokens[-1]), len(tokens))


def _of_vector(one: Answer) -> Iterator[Fault]:
    numbers = list(one.vector or ())
    if not all(_is_number(value) for value in numbers) or not any(numbers):
        yield Fault("vector_wrong", "gives a vector that is no direction (%s)" % str(numbers[:3]), True)
    elif one.width and len(numbers) != one.width:
        seen = "gives a vector of %d numbers, and the model has %d" % (len(numbers), one.width)
        yield Fault("vector_wrong", seen, True)


def _cosine(one: tuple[Any, ...], other: tuple[Any, ...]) -> Optional[float]:
    if len(one) != len(other) or not all(_is_number(value) for value in (*one, *other)):
        return None  # which is another finding
    lengths = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
    return sum(a * b for a, b in zip(one, other)) / lengths if lengths and math.isfinite(lengths) else None
