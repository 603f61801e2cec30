# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command `load`: load the planned models of instances that have started, and prove them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Optional

from ..common.libraries import LibraryMissing
from ..common.missing_gpus import missing_gpus
from ..common.names import InvalidName, key_of, parse, served_name
from ..evidence.concurrency import in_parallel
from ..evidence.planned import planned_uuids
from ..evidence.readiness import wait_for
from ..evidence.shapes import FAIL, PASS
from ..gpu import nvml
from ..host.run_lock import LockHeld, is_held, run_lock
from ..ollama.client import OllamaClient, OllamaError
from ..ollama.loading import check_keep_alive, ensure_loaded
from ..ollama.target import ModelError, Target
from . import observing
from .configured import Configured, configured
from .observing import NVML_SECONDS, SERVER_SECONDS
from .shapes import CANNOT, DIFFERS, ERROR, FINE, INFO, OF_VERDICT, USAGE, WARNING, Answer, Line, Places, Refused
from .verdicts import verdict_lines

#: Seconds in which a server that was started has to answer.
READY_SECONDS = 180.0
#: A check looks whether a run holds the lock by taking it for a moment.
_MOMENT_SECONDS = 2.0
_DONE = {"load": "is loaded", "reload": "is loaded again", "keep_alive": "is kept loaded", "none": "was loaded already"}


@dataclass
class Loaded:
    """What became of the models of one instance: lines for people, and whether something is not loaded that should."""

    lines: list[Line] = field(default_factory=list)
    failed: bool = False
    waits_for_run: bool = False

    def fail(self, text: str) -> None:
        """Note what keeps a model from being loaded."""
        self.lines.append(Line(text, ERROR))
        self.failed = True


def load(places: Places, name: Optional[str], after_benchmark: bool = False) -> Answer:
    """Load the models of one instance, or of all, and prove them.

    Args:
        places: of the host.
        name: of the instance; None for all.
        after_benchmark: whether to wait for the end of a benchmark that has stopped the instances. It loads the models
            itself, unless it is killed.

    Raises:
        Refused: there is no such instance, or the host cannot be read.
    """
    instances = _named(configured(places), name)
    wait = None if after_benchmark and is_held(places.benchmark_lock) else _MOMENT_SECONDS
    try:
        with run_lock(wait=wait, shared=True, path=places.lock):
            answer = load_and_prove(instances)
    except LockHeld as held:
        text = "%s Nothing is loaded here: a run loads the models itself, and proves them." % held
        return Answer(FINE, [Line(text)], {"loaded": False, "reason": str(held)})
    return answer


def load_and_prove(instances: list[Configured]) -> Answer:
    """Load the models of instances and prove them; the caller holds the lock.

    Raises:
        Refused: the host cannot be read.
    """
    found = {one.name: Loaded() for one in instances}
    inventory = nvml.read_inventory(NVML_SECONDS)[0] if any(one.gpu_uuids() for one in instances) else {}
    try:
        ready = wait_for([{key: one.instance[key] for key in ("unit", "url")} for one in instances], READY_SECONDS)
        # The instances load at the same time, and the models of one after the other.
        in_parallel(
            [
                functools.partial(_load_instance, one, state["problem"], inventory, found[one.name])
                for one, state in zip(instances, ready)
            ]
        )
    except LibraryMissing as missing:
        raise Refused(CANNOT, str(missing))
    return _answer(instances, found)


def _named(instances: dict[str, Configured], name: Optional[str]) -> list[Configured]:
    if name is None:
        return list(instances.values())
    if name not in instances:
        raise Refused(USAGE, "There is no instance %r on this host: give one of %s." % (name, ", ".join(instances)))
    return [instances[name]]


def _load_instance(one: Configured, problem: Optional[str], inventory: dict[str, Any], found: Loaded) -> None:
    if problem:
        found.fail(problem)
        return
    try:
        client = OllamaClient(one.instance["url"], SERVER_SECONDS)
        planned = {key_of(name) for model in one.instance["models"] for name in _names(model)}
        others = [entry["name"] for entry in client.ps() if key_of(entry["name"]) not in planned]
    except OllamaError as error:
        found.fail("%s: %s." % (one.name, error))
        return
    if others:
        # The server would make room for a planned model. Whoever loaded it may need it.
        found.fail("%s: %s is loaded and not planned, and is not evicted." % (one.name, ", ".join(others)))
        return
    for model in one.instance["models"]:
        missing = missing_gpus(planned_uuids(model), inventory)
        if missing:
            # Without them the server would put the model on other GPUs, or on the CPU.
            found.fail(
                "%s: %s is not loaded, because of a GPU of its plan: %s."
                % (one.name, served_name(model), "; ".join("%s, %s" % (uuid, missing[uuid].reason) for uuid in missing))
            )
        elif model.get("resident", True):
            _load_model(one, client, model, found)


def _load_model(one: Configured, client: OllamaClient, model: dict[str, Any], found: Loaded) -> None:
    name = served_name(model)
    try:
        target, aliases = Target(client), [parse(alias) for alias in _names(model) if alias != name]
        if one.unfinished and target.reachable() and target.digest(parse(name)) is None:
            found.waits_for_run = True
            found.lines.append(Line("%s: %s is not there yet; the run that is under way brings it." % (one.name, name)))
            return
        outcome = ensure_loaded(target, parse(name), check_keep_alive(model.get("keep_alive", -1)), names=aliases)
    except (OllamaError, ModelError, InvalidName) as error:
        found.fail("%s: %s." % (one.name, error))
        return
    found.lines.append(Line("%s: %s %s." % (one.name, name, _DONE[outcome.action])))


def _names(model: dict[str, Any]) -> list[str]:
    """The names under which a model may be loaded: its own, that of the model it was made from, and its aliases."""
    return list(dict.fromkeys([served_name(model), model["name"], *(model.get("aliases") or [])]))


def _answer(instances: list[Configured], found: dict[str, Loaded]) -> Answer:
    """Prove what was loaded, with one generation per model, and put it together."""
    lines, data, codes = [], [], [FINE]
    for one in instances:
        state = found[one.name]
        lines += state.lines
        if state.waits_for_run:
            data.append({"name": one.name, "verdict": None, "lines": [line.text for line in state.lines]})
            continue
        # A server goes on listing a model whose engine has died.
        seen = observing.observe(one.plan, [one.name], generate=True, load=not state.failed)
        verdict = FAIL if state.failed else seen.evidence.verdict
        codes.append(DIFFERS if state.failed else OF_VERDICT[verdict])
        told = verdict_lines(seen.evidence, "instance %s" % one.name)
        if one.unfinished and verdict != PASS:
            # Whoever changes the instance proves it. This is no news about a plan that was applied.
            told = [Line(line.text, INFO if line.level == INFO else WARNING) for line in told]
            codes[-1] = FINE
        lines += told
        data.append(dict(seen.data(), name=one.name, verdict=verdict, lines=[line.text for line in state.lines]))
    # One that differs counts more than one that is not proven.
    code = next(code for code in (DIFFERS, *sorted(codes, reverse=True)) if code in codes)
    return Answer(code, lines, {"loaded": True, "instances": data})
