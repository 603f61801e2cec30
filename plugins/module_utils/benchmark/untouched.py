# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Measure what Ollama would do by itself: the models of a plan as they were pulled, with the default context, on one
server that chooses GPUs, slots and what stays loaded. The instances of the plan are stopped meanwhile (paused.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from ..common import paths
from ..common.names import Name, key_of, parse
from ..evidence.planned import instances_of
from ..ollama.client import OllamaClient
from ..ollama.store import Store
from . import run
from .figures import Wanted, levels
from .in_force import plan_in_force
from .left import FAILED, Left
from .paused import NotMeasured, NotRestored, Pause, Source, untouched_server
from .run import Benchmark, Served
from .streams import prompt

#: What results say in place of the names of instances.
NAME = "untouched Ollama"
#: How long a model stays loaded by default (envconfig/config.go, KeepAlive).
_KEEP_ALIVE = "5m"


@dataclasses.dataclass
class Untouched(Benchmark):
    """A benchmark of an untouched server.

    `loaded` says of each model which context_length the server gave it, its size_bytes, and how many of them are on
    GPUs (size_vram_bytes).
    """

    loaded: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Compared:
    """A model that is measured: as the plan serves it, where its files are, and how many requests it gets at once."""

    model: str
    source: Source
    streams: Sequence[int]


def begun(plan: dict[str, Any]) -> Untouched:
    """Return a benchmark of a plan, in which nothing was measured yet."""
    return Untouched(**dataclasses.asdict(run.begun(plan)))


def measure_untouched(
    plan: dict[str, Any], wanted: Wanted, lock_timeout: float, outage_limit: int, found: Untouched
) -> None:
    """Measure the models of a plan on an untouched server, and restore the instances of the plan.

    Args:
        plan: that is in force.
        wanted: what is measured.
        lock_timeout: seconds to wait for a run or a check that works on the host.
        outage_limit: seconds after which the instances are started again.
        found: of `begun`; gets what is measured, and a note on what is not because of `outage_limit` or a failure.

    Raises:
        Busy, PlanChanged, LockHeld, NotPaused, StoreError, OSError: nothing was stopped.
        NotMeasured: the measurement has failed; the instances serve.
        NotRestored: the host is not as planned afterwards.
        LibraryMissing: requests, or nvidia-ml-py where the plan uses GPUs.
    """
    wanted = dataclasses.replace(wanted, timeout=float(outage_limit))
    found.tokens = wanted.tokens
    with plan_in_force(found.plan["digest"], lock_timeout, shared=False, notes=found.notes):
        models = compared(plan, found.notes)
        run.wait_until_quiet({instance["unit"] for instance in instances_of(plan)}, wanted.quiet_timeout)
        left = Left({one.model: one.streams for one in models}, wanted.prompts)
        why = "the instances were stopped for %d seconds (outage_limit)" % outage_limit
        try:
            with untouched_server(plan, {one.source.name: one.source for one in models}, outage_limit) as pause:
                _measure(pause, models, wanted, found, left)
        except (NotMeasured, NotRestored) as error:
            failure = error if isinstance(error, NotMeasured) else error.failure
            has_failed = failure is not None and not failure.timed_out
            found.notes += left.notes(FAILED if has_failed else why)
            if has_failed or isinstance(error, NotRestored):
                raise
        else:
            found.notes += left.notes(why)


def compared(plan: dict[str, Any], notes: list[str]) -> list[Compared]:
    """Return the models of a plan that can be compared; `notes` gets a sentence about what is other than expected.

    Raises:
        StoreError: a store cannot be read.
    """
    stores = {instance["name"]: instance["store"] for instance in instances_of(plan)}
    plain = {key_of(model.get("create_as") or model["name"]): model["name"] for model in _models(plan)}
    found = []
    for model, replicas in run.by_model(run.served(plan, notes)).items():
        name = parse(plain.get(key_of(model), model))
        store = Store(stores[replicas[0].name], paths.USER)
        source = Source(store.path, name, True)
        if store.complete(name, pulled=True) is None:
            notes.append("%s was measured with the parameters of the plan: nothing was pulled as %s." % (model, name))
            source = Source(store.path, parse(model), False)
        together = {each * len(replicas) for each in run.each_of_replicas(replicas)} if len(replicas) > 1 else set()
        streams = {*levels(min(place.slots for place in replicas)), *together}
        found.append(Compared(model, source, sorted(streams)))
    return found


def _models(plan: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (model for instance in instances_of(plan) for model in instance["models"])


def _measure(pause: Pause, models: Sequence[Compared], wanted: Wanted, found: Untouched, left: Left) -> None:
    """Load all models as far as the server keeps them, then measure one after the other, until the time is over."""
    numbers = run.prompt_numbers()
    client = OllamaClient(pause.url)
    measurable = []
    for one in models:
        place = Served(NAME, paths.UNTOUCHED_UNIT, pause.url, one.model, 1, 0, _KEEP_ALIVE, str(one.source.name))
        if run.is_ready(place, wanted, found):
            loaded = _loaded(client, one)
            found.loaded.append(loaded)
            place = dataclasses.replace(place, context=loaded["context_length"] or 0)
            fitting = run.fitting([place], wanted)
            found.notes += run.not_fitting(place, wanted)
            left.only(one.model, fitting.prompts)
            measurable.append((place, one.streams, fitting))
        else:
            left.only(one.model, ())
        if pause.is_over():
            return
    stayed = {key_of(entry["name"]) for entry in client.ps()}
    gone = [place.model for place, _streams, _wanted in measurable if key_of(place.asked) not in stayed]
    if gone:
        found.notes.append("Untouched, Ollama does not keep all models loaded at the same time: %s." % ", ".join(gone))
    for place, streams, fitting in measurable:
        run.Streaming(pause.url, wanted.timeout).request(place.asked, prompt(8, next(numbers)), 4, _KEEP_ALIVE)
        for figures in run.measure([place], streams, fitting, numbers):
            found.measurements.append(figures)
            left.done(place.model, figures)
            if pause.is_over():
                return


def _loaded(client: OllamaClient, one: Compared) -> dict[str, Any]:
    """What the server says of a loaded model; what it does not say is None."""
    name: Name = one.source.name
    entry = next((entry for entry in client.ps() if key_of(entry["name"]) == key_of(str(name))), {})
    sizes = {"size_bytes": entry.get("size"), "size_vram_bytes": entry.get("size_vram")}
    return {"model": one.model, "context_length": entry.get("context_length"), **sizes}
