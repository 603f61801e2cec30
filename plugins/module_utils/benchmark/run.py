# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Measure the instances of a plan: how long a load takes, and how fast they answer one and several requests."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..apply import quiet
from ..common.names import key_of, served_name
from ..ollama.client import CANNOT_GENERATE, LOAD_TIMEOUT, OllamaClient
from ..ollama.connection import OllamaError
from .figures import Batch, levels, measured, spread
from .streams import Streaming, prompt, together

_UNLOAD_SECONDS, _POLL_SECONDS = 60.0, 0.05


class Busy(Exception):
    """The host answers others, so that nothing can be measured. The text is a sentence."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is measured.

    Attributes:
        repeats: how often each figure is measured.
        tokens: most tokens of an answer.
        prompts: about how many tokens the prompts have.
        loads: how often each model is unloaded and loaded; 0 for not at all.
        quiet_timeout: seconds to wait until nobody else is served.
        timeout: seconds without a byte after which a request is given up.
    """

    repeats: int = 3
    tokens: int = 64
    prompts: Sequence[int] = (32, 512)
    loads: int = 1
    quiet_timeout: float = 60.0
    timeout: float = 300.0


@dataclasses.dataclass(frozen=True)
class Served:
    """A model of an instance."""

    name: str
    unit: str
    url: str
    model: str
    slots: int
    context: int
    keep_alive: Any


@dataclasses.dataclass
class Benchmark:
    """What was measured: `loads` and `measurements` by model and instances, and `notes` on what was not."""

    release: str = ""
    loads: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    measurements: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def run(plan: dict[str, Any], wanted: Wanted) -> Benchmark:
    """Measure the models of a plan, one after the other.

    Raises:
        Busy: others are served.
        OllamaError: a server has failed.
        LibraryMissing: requests.
    """
    found = Benchmark(str(plan.get("ollama_version") or ""))
    places = _served(plan, found.notes)
    _wait({place.unit for place in places}, wanted.quiet_timeout)
    measurable = [place for place in places if _is_ready(place, wanted, found)]
    numbers = itertools.count(int(time.time()))  # of prompts: those of an earlier run are not met again
    for place in measurable:
        found.measurements += _of([place], levels(place.slots), wanted, numbers, found.notes)
    by_model: dict[str, list[Served]] = {}
    for place in measurable:
        by_model.setdefault(place.model, []).append(place)
    for replicas in by_model.values():
        if len(replicas) > 1:
            streams = levels(min(place.slots for place in replicas))
            found.measurements += _of(replicas, sorted({1, streams[-1]}), wanted, numbers, [])
    return found


def _served(plan: dict[str, Any], notes: list[str]) -> list[Served]:
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


def _wait(units: set[str], seconds: float) -> None:
    """Wait until nobody is served; without a time to wait, look once."""
    busy = quiet.wait_for_quiet(units, seconds).busy or tuple(unit for unit in sorted(units) if quiet.is_busy(unit))
    if busy:
        raise Busy(
            "%s answers requests of others, which would slow both down: run the benchmark when nobody uses the "
            "host, or take it out of the rotation of its gateway first." % ", ".join(busy)
        )


def _is_ready(place: Served, wanted: Wanted, found: Benchmark) -> bool:
    """Load a model so often as is wanted, and warm it up. Return whether it generates at all."""
    client = Streaming(place.url, wanted.timeout)
    try:
        client.request(place.model, prompt(8, 0), 4, place.keep_alive)
    except OllamaError as error:
        if CANNOT_GENERATE not in error.message:
            raise
        found.notes.append("%s of %s makes vectors only and was not measured." % (place.model, place.name))
        return False
    seconds = [_load(client, place) for unused in range(wanted.loads)]
    if seconds:
        found.loads.append({"model": place.model, "instances": [place.name], "seconds": spread(seconds)})
        client.request(place.model, prompt(8, 1), 4, place.keep_alive)
    return True


def _load(client: OllamaClient, place: Served) -> float:
    """Unload a model and load it. Return the seconds of the load."""
    client.unload(place.model)
    until = time.monotonic() + _UNLOAD_SECONDS
    while any(key_of(entry["name"]) == key_of(place.model) for entry in client.ps()):
        if time.monotonic() > until:
            raise Busy("%s of %s stays loaded, so a request is using it." % (place.model, place.name))
        time.sleep(_POLL_SECONDS)
    begun = time.monotonic()
    client.load(place.model, place.keep_alive, timeout=LOAD_TIMEOUT)
    return time.monotonic() - begun


def _of(
    places: Sequence[Served], streams: Sequence[int], wanted: Wanted, numbers: Iterator[int], notes: list[str]
) -> list[dict[str, Any]]:
    """Measure one instance, or replicas at the same time, each with so many requests."""
    found, model = [], places[0].model
    names = [place.name for place in places]
    for words in wanted.prompts:
        # A word is one token or two; what does not fit would be cut.
        if any(place.context and 2 * words + wanted.tokens > place.context for place in places):
            notes.append("A prompt of %d tokens may not fit into %s of %s." % (words, model, ", ".join(names)))
            continue
        for each in streams:
            clients = [Streaming(place.url, wanted.timeout) for place in places for unused in range(each)]
            batches = []
            for _repeat in range(wanted.repeats):
                disturbed = any(quiet.is_busy(place.unit) for place in places)
                texts = [prompt(words, next(numbers)) for unused in clients]
                batch = together(clients, model, texts, wanted.tokens, places[0].keep_alive)
                batches.append(Batch(batch.requests, batch.seconds, disturbed))
            what = {"model": model, "instances": names, "prompt": words, "streams": len(clients)}
            found.append(dict(what, **measured(batches)))
    return found


def as_data(found: Benchmark) -> dict[str, Any]:
    """Return what module benchmark_info returns of a benchmark."""
    return dataclasses.asdict(found)
