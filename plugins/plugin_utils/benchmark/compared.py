# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Figures beside others: those of an earlier benchmark, of replicas, and of an untouched Ollama. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Optional, TypeVar

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.differences import value_in_words

M = TypeVar("M")
R = TypeVar("R", bound=Hashable)

#: Figure -> whether more is better.
FIGURES = {
    "first_token_seconds": False,
    "tokens_per_second": True,
    "total_tokens_per_second": True,
    "requests_per_minute": True,
    "seconds": False,
}
#: One value has no spread. Where there is only one, a change of less than this part of the earlier median is none.
_ROOM = 0.1
#: Figures that depend on how many tokens an answer may have: its prompt is read in the same time.
OF_WHOLE_ANSWERS = ("total_tokens_per_second", "requests_per_minute")


def change(figure: str, before: Optional[Mapping[str, Any]], now: Optional[Mapping[str, Any]]) -> str:
    """Return how a figure differs from an earlier one: "12.5 % better", "12.5 % worse", "as before" or "".

    It is as before where the middle halves of both overlap, because repeats of one run differ as much then. Where one
    of them was measured only once, it is also as before within _ROOM.

    Args:
        figure: a key of FIGURES.
        before: the earlier figure with median, q1, q3 and repeats.
        now: the figure.
    """
    if not before or not now or not before["median"]:
        return ""
    if now["q1"] <= before["q3"] and before["q1"] <= now["q3"]:
        return "as before"
    percent = 100.0 * (now["median"] / before["median"] - 1)
    if min(before["repeats"], now["repeats"]) < 2 and abs(percent) <= 100 * _ROOM:
        return "as before"
    return "%.1f %% %s" % (abs(percent), "better" if (percent > 0) is FIGURES[figure] else "worse")


def key(one: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what two measurements have in common that can be compared. Instances may have other names in another plan.

    Args:
        one: an entry of `loads` or `measurements`.
    """
    return one["model"], len(one["instances"]), one.get("prompt"), one.get("streams")


def partner(
    one: Mapping[str, Any], now: Iterable[Mapping[str, Any]], earlier: Iterable[Mapping[str, Any]]
) -> Optional[Mapping[str, Any]]:
    """Return the earlier entry to compare one with: that of the same instances, else one where there is no choice.

    Args:
        one: an entry of `loads` or `measurements`.
        now: all entries of its list.
        earlier: the entries of that list in an earlier benchmark.
    """
    alike = [other for other in earlier if key(other) == key(one)]
    same = [other for other in alike if sorted(other["instances"]) == sorted(one["instances"])]
    if same or len(alike) != 1 or sum(key(other) == key(one) for other in now) > 1:
        return same[0] if same else None
    return alike[0]


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return phrases about what differs between two benchmarks beside their figures: the host, the length of the
    answers, the release, and the plan.

    Args:
        earlier: an older benchmark, of the same host where no other file was asked for.
        now: the benchmark.
    """
    found = []
    for what, words in (("host", "host"), ("tokens", "most tokens of an answer")):
        if earlier.get(what) != now.get(what):
            found.append("%s %s -> %s" % (words, *(value_in_words(one.get(what)) for one in (earlier, now))))
    if earlier.get("release") != now.get("release"):
        found.append("Ollama %s -> %s" % (earlier.get("release"), now.get("release")))
    before, after = (one.get("plan") or {} for one in (earlier, now))
    if not before.get("digest") or before["digest"] == after.get("digest"):
        return found
    found.append("plan %.12s -> %.12s" % (before["digest"], after.get("digest")))
    models, new = before.get("models") or {}, after.get("models") or {}
    found += ["%s is new" % model for model in new if model not in models]
    found += ["%s is gone" % model for model in models if model not in new]
    for model in (model for model in new if model in models):
        for what in dict.fromkeys([*models[model], *new[model]]):
            values = models[model].get(what), new[model].get(what)
            if values[0] != values[1]:
                found.append("%s of %s %s -> %s" % (what, model, *map(value_in_words, values)))
    return found


def beside_untouched(benchmark: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield pairs (of the plan, of the untouched Ollama) with the same model, prompt and number of requests.

    Args:
        benchmark: as it is kept.
    """
    by_requests = with_most_instances(benchmark["measurements"], _requests, lambda one: len(one["instances"]))
    for one in (benchmark.get("untouched") or {}).get("measurements") or []:
        if _requests(one) in by_requests:
            yield by_requests[_requests(one)], one


def with_most_instances(
    measurements: Iterable[M], requests: Callable[[M], R], instances: Callable[[M], int]
) -> dict[R, M]:
    """Return {requests: the measurement of them with the most instances}: clients of a plan have all of them.

    Args:
        measurements: in any form.
        requests: of a measurement: what is the same where two can be compared.
        instances: how many a measurement has asked; of two with as many, the first is taken.
    """
    found: dict[R, M] = {}
    for one in measurements:
        known = found.get(requests(one))
        if known is None or instances(one) > instances(known):
            found[requests(one)] = one
    return found


def _requests(measurement: Mapping[str, Any]) -> tuple[Any, ...]:
    return measurement["model"], measurement["prompt"], measurement["streams"]


def beside_one(benchmark: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Yield each measurement of replicas with how many times the tokens per second they give that one of them gives at
    its best, with prompts of the same length.

    Args:
        benchmark: as it is kept.
    """
    measurements = [one for one in benchmark["measurements"] if one.get("total_tokens_per_second")]
    for one in measurements:
        alone = [
            other["total_tokens_per_second"]["median"]
            for other in measurements
            if len(other["instances"]) == 1 and (other["model"], other["prompt"]) == (one["model"], one["prompt"])
        ]
        if len(one["instances"]) > 1 and max(alone, default=0) > 0:
            yield one, one["total_tokens_per_second"]["median"] / max(alone)
