# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Measure the instances of a plan: how long a load takes, and how fast they answer one and several requests."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..apply import quiet
from ..common.names import parse, served_name
from ..host import history
from ..ollama import loading
from ..ollama.client import CANNOT_GENERATE, LOAD_TIMEOUT, OllamaClient
from ..ollama.connection import OllamaError
from ..ollama.target import ModelError, Target
from .figures import Batch, Wanted, levels, measured, planned, spread
from .in_force import plan_in_force
from .left import FAILED, Left
from .streams import Streaming, prompt, together


class Busy(Exception):
    """The host answers others, so that nothing can be measured. The text is a sentence."""


@dataclasses.dataclass(frozen=True)
class Served:
    """A model of an instance.

    Attributes:
        name: of the instance.
        unit: of the instance.
        url: of its server.
        model: as the plan serves it.
        slots: requests at once.
        context: tokens of a slot; 0 where it is not known.
        keep_alive: as the API takes it.
        asked_as: the name that the server has it under; "" for `model`.
    """

    name: str
    unit: str
    url: str
    model: str
    slots: int
    context: int
    keep_alive: Any
    asked_as: str = ""

    @property
    def asked(self) -> str:
        """The name in requests."""
        return self.asked_as or self.model


@dataclasses.dataclass
class Benchmark:
    """What was measured: `loads` and `measurements` by model and instances, and `notes` on what was not.

    `release` is the version of Ollama, and `plan` has the `digest` of the plan that was measured (history.digest_of),
    and what it plans for each of its `models` (figures.planned). `tokens` are the most of an answer; None where nothing
    was asked.
    """

    release: str = ""
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    loads: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    measurements: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    tokens: int | None = None


def run(plan: dict[str, Any], wanted: Wanted, lock_timeout: float, found: Benchmark) -> None:
    """Measure the models of a plan, one after the other. A check does not find them unloaded meanwhile.

    Args:
        plan: that is in force.
        wanted: what is measured.
        lock_timeout: seconds to wait for what works on the host: a run, a load or a check.
        found: of `begun`; gets what is measured as soon as it is there, and a note on what is not because of a failure.

    Raises:
        Busy: others are served.
        OllamaError: a server has failed.
        ModelError: a model stays loaded.
        LibraryMissing: requests.
        See `in_force.plan_in_force`.
    """
    found.tokens = wanted.tokens
    with plan_in_force(found.plan["digest"], lock_timeout, shared=True, notes=found.notes):
        places = served(plan, found.notes)
        wait_until_quiet({place.unit for place in places}, wanted.quiet_timeout)
        groups = _groups(places, wanted)
        left = Left({one.name: [each * len(one.places) for each in one.streams] for one in groups}, wanted.prompts)
        for group in groups:
            left.only(group.name, group.wanted.prompts)
        try:
            for place in places:
                if is_ready(place, wanted, found):
                    found.notes += not_fitting(place, wanted)
                else:
                    groups = _without(place.model, groups, left)
            _measure_groups(groups, found, left)
        except (OllamaError, ModelError):
            found.notes += left.notes(FAILED)
            raise


@dataclasses.dataclass(frozen=True)
class _Group:
    """What is measured at the same time: one instance, or all replicas of a model. Each gets `streams` requests.
    `wanted` has only prompts that fit into all."""

    places: Sequence[Served]
    streams: Sequence[int]
    wanted: Wanted

    @property
    def model(self) -> str:
        return self.places[0].model

    @property
    def name(self) -> str:
        return "%s of %s" % (self.model, ", ".join(place.name for place in self.places))


def _groups(places: Sequence[Served], wanted: Wanted) -> list[_Group]:
    """Each instance by itself, then replicas together."""
    replicated = [replicas for replicas in by_model(places).values() if len(replicas) > 1]
    groups = [([place], levels(place.slots)) for place in places]
    groups += [(replicas, each_of_replicas(replicas)) for replicas in replicated]
    return [_Group(places, streams, fitting(places, wanted)) for places, streams in groups]


def _without(model: str, groups: Sequence[_Group], left: Left) -> list[_Group]:
    """The groups of other models; nothing is to be measured of this one."""
    for group in groups:
        if group.model == model:
            left.only(group.name, ())
    return [group for group in groups if group.model != model]


def _measure_groups(groups: Sequence[_Group], found: Benchmark, left: Left) -> None:
    """Measure one group after the other, and note each figure at once."""
    numbers = prompt_numbers()
    for group in groups:
        for figures in measure(group.places, group.streams, group.wanted, numbers):
            found.measurements.append(figures)
            left.done(group.name, figures)


def begun(plan: dict[str, Any]) -> Benchmark:
    """Return a benchmark of a plan, in which nothing was measured yet."""
    told = {"digest": history.digest_of(plan), "models": planned(plan)}
    return Benchmark(str(plan.get("ollama_version") or ""), told)


def prompt_numbers() -> Iterator[int]:
    """Return numbers of prompts that no earlier run has used."""
    return itertools.count(int(time.time()))


def by_model(places: Iterable[Served]) -> dict[str, list[Served]]:
    """Return the places of each model; more than one are replicas."""
    found: dict[str, list[Served]] = {}
    for place in places:
        found.setdefault(place.model, []).append(place)
    return found


def each_of_replicas(replicas: Sequence[Served]) -> list[int]:
    """Return how many requests each of some replicas gets while all are measured: one, and all its slots."""
    return sorted({1, levels(min(place.slots for place in replicas))[-1]})


def served(plan: dict[str, Any], notes: list[str]) -> list[Served]:
    """Return the models of the instances of a plan; `notes` gets a sentence about each that is not measured."""
    places = []
    for instance in plan.get("instances") or []:
        for model in instance["models"]:
            if not model.get("resident", True):
                notes.append("%s of %s is loaded on demand and was not measured." % (model["name"], instance["name"]))
                continue
            slots, context = int(model.get("parallel") or 1), int(model.get("context_length") or 0)
            keep, name = model.get("keep_alive", -1), served_name(model)
            places.append(Served(instance["name"], instance["unit"], instance["url"], name, slots, context, keep))
    return places


def wait_until_quiet(units: set[str], seconds: float) -> None:
    """Wait until nobody is served; without a time to wait, look once. Raises Busy."""
    busy = quiet.wait_for_quiet(units, seconds).busy or tuple(unit for unit in sorted(units) if quiet.is_busy(unit))
    if busy:
        raise Busy(
            "%s answers requests of others, which would slow both down: run the benchmark when nobody uses the "
            "host, or take it out of the rotation of its gateway first." % ", ".join(busy)
        )


def is_ready(place: Served, wanted: Wanted, found: Benchmark) -> bool:
    """Load a model so often as is wanted, and warm it up. Return whether it generates at all.

    Raises:
        OllamaError, ModelError: it cannot be loaded, or stays loaded.
    """
    client = Streaming(place.url, wanted.timeout)
    client.load(place.asked, place.keep_alive, timeout=LOAD_TIMEOUT)
    try:
        client.request(place.asked, prompt(8, 0), 4, place.keep_alive)
    except OllamaError as error:
        if CANNOT_GENERATE not in error.message:
            raise
        found.notes.append("%s of %s makes vectors only and was not measured." % (place.model, place.name))
        return False
    seconds = [_load(client, place) for unused in range(wanted.loads)]
    if seconds:
        found.loads.append({"model": place.model, "instances": [place.name], "seconds": spread(seconds)})
        client.request(place.asked, prompt(8, 1), 4, place.keep_alive)
    return True


def _load(client: OllamaClient, place: Served) -> float:
    """Unload a model and load it. Return the seconds of the load."""
    loading.unload(Target(client), parse(place.asked))
    begin = time.monotonic()
    client.load(place.asked, place.keep_alive, timeout=LOAD_TIMEOUT)
    return time.monotonic() - begin


def measure(
    places: Sequence[Served], streams: Sequence[int], wanted: Wanted, numbers: Iterator[int]
) -> Iterator[dict[str, Any]]:
    """Measure one instance, or replicas at the same time, and yield each figure as soon as it is there.

    Args:
        places: of one model.
        streams: how many requests each of them gets at the same time.
        wanted: prompts (of `fitting`), tokens and repeats.
        numbers: of prompts.

    Raises:
        OllamaError: a server has failed.
    """
    model = places[0].model
    names = [place.name for place in places]
    for words in wanted.prompts:
        for each in streams:
            # A server may read the prompts one after the other before it sends the first byte.
            clients = [Streaming(place.url, wanted.timeout * each) for place in places for unused in range(each)]
            batches = []
            for _repeat in range(wanted.repeats):
                disturbed = any(quiet.is_busy(place.unit) for place in places)
                texts = [prompt(words, number) for unused, number in zip(clients, numbers)]
                batch = together(clients, places[0].asked, texts, wanted.tokens, places[0].keep_alive)
                batches.append(Batch(batch.requests, batch.seconds, disturbed))
            what = {"model": model, "instances": names, "prompt": words, "streams": len(clients)}
            yield dict(what, **measured(batches))


def fitting(places: Sequence[Served], wanted: Wanted) -> Wanted:
    """Return what is measured of a model: only prompts that fit into the context of all places with their answer.

    A word is one token or two, and what does not fit would be cut. All fit into a context that is not known.

    Args:
        places: of one model.
        wanted: what is measured.
    """
    least = min((place.context for place in places if place.context), default=None)
    fits = [words for words in wanted.prompts if least is None or 2 * words + wanted.tokens <= least]
    return dataclasses.replace(wanted, prompts=tuple(fits))


def not_fitting(place: Served, wanted: Wanted) -> list[str]:
    """Return a sentence about each prompt that `fitting` leaves out."""
    fits = fitting([place], wanted).prompts
    told = "A prompt of %d tokens may not fit into %s of %s."
    return [told % (words, place.model, place.name) for words in wanted.prompts if words not in fits]


def as_data(found: Benchmark) -> dict[str, Any]:
    """Return what module benchmark_info returns of a benchmark."""
    return dataclasses.asdict(found)
