# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make one switch: stop, put files in place, bring models, start, wait, load and prove; go back where that fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..common import paths
from ..evidence.load_progress import LoadProgress
from ..evidence.planned import instances_of
from ..host import systemd, units
from ..host.files import FileOutcome, Files, WantedFile
from ..ollama import ensure_list
from ..ollama.ensure import WantedModel
from ..ollama.store import Store
from ..ollama.target import Outcome
from . import going_back, kept
from .going_back import WentBack
from .proof import Proof, prove
from .quiet import Quiet, wait_for_quiet
from .speed import Speeds, compare_speeds
from .steps import EXPECTED_ERRORS, SwitchFailed, sentence, wait_until_ready
from .watch import watch


@dataclass(frozen=True)
class Plans:
    """What instances are to be and were.

    Attributes:
        wanted: The plan.
        applied: The one that is written on the host; {} without one.
        accept_unproven: Whether what is neither proven nor contradicted is good enough.
        speeds: What the models' tokens/s are compared with.
        quiet_timeout: Seconds to wait until instances that stop answer no request.
        watch_time: Seconds for which the engines of all instances that were changed since the applied plan have to
            run after the proof; 0 where nothing is watched.
    """

    wanted: dict
    applied: dict = field(default_factory=dict)
    accept_unproven: bool = False
    speeds: Speeds = Speeds()
    quiet_timeout: float = 0
    watch_time: float = 0


@dataclass(frozen=True)
class Order:
    """A switch (changes/switches.py) as it is made.

    Attributes:
        instances: Names of the instances of the plan, which are proven.
        stop: Units that stop and do not start at boot any more.
        restart: Names of instances that are stopped, if they run, and started.
        enable: Names of instances that start at boot from now on.
        reload: Whether systemd reads its units again.
        files: In the order in which they are put in place.
        models: In the order in which they are worked through.
    """

    instances: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    reload: bool = False
    files: tuple[WantedFile, ...] = ()
    models: tuple[WantedModel, ...] = ()

    def names(self) -> list[str]:
        """Return the names of all instances, those that stop for good among them."""
        stopped = [paths.instance_of(unit) for unit in self.stop]
        files = [file.path for file in self.files]
        gone = [_instance_of_file(path) for path in files]
        return list(dict.fromkeys([*self.instances, *filter(None, [*stopped, *gone])]))


@dataclass
class Done:
    """What a switch did, as far as it came.

    Attributes:
        files: What was done at each path.
        progress: What was done to the models.
        seconds_without_answer: From the stop of what served before until the models are loaded, by instance; only of
            those for which something was stopped.
        quiet: How waiting for quiet ended.
        proof: Of the new state.
        failure: Why it failed, in sentences; "" where it did not.
        back: What became of going back; None where nothing went back.
    """

    files: list[FileOutcome] = field(default_factory=list)
    progress: ensure_list.Progress = field(default_factory=ensure_list.Progress)
    seconds_without_answer: dict[str, float] = field(default_factory=dict)
    quiet: Quiet = Quiet()
    proof: Proof = field(default_factory=Proof)
    failure: str = ""
    back: WentBack | None = None


def foresee(order: Order, files: Files) -> Done:
    """Return what a switch would do; nothing is changed. `files` is in check mode."""
    done = Done()
    with _failures(done):
        done.files += [files.put(file) for file in order.files]
        done.progress = ensure_list.ensure_all(list(order.models), check_mode=True)
        if done.progress.failures:
            raise SwitchFailed(done.progress.message())
    return done


def make(order: Order, plans: Plans, files: Files) -> Done:
    """Make a switch. Where it fails and a plan was applied before, its instances go back, and those of the switches
    that were made since that plan was written.

    Raises:
        LibraryMissing: requests, or nvidia-ml-py where the plan uses GPUs; nothing was changed.
    """
    done = Done()
    stores = {
        instance["name"]: Store(instance["store"], paths.USER)
        for instance in instances_of(plans.applied)
        if instance.get("store")
    }
    before = kept.load()
    with _failures(done):
        if plans.applied:
            kept.keep(before, files, order.names(), [file.path for file in order.files], stores)
    if done.failure:
        return done
    with _failures(done):
        _change(order, plans, files, done)
        _watch(order, plans, before, done)
    if done.failure and plans.applied:
        done.back = going_back.go_back(before, plans.applied, files, plans.accept_unproven)
    return done


@contextlib.contextmanager
def _failures(done: Done) -> Iterator[None]:
    try:
        yield
    except SwitchFailed as error:
        done.failure = str(error)
    except EXPECTED_ERRORS as error:
        done.failure = sentence(error)


def _change(order: Order, plans: Plans, files: Files, done: Done) -> None:
    served = _serve(order)
    restarted = [paths.unit(name) for name in order.restart]
    done.quiet = wait_for_quiet([*order.stop, *restarted], plans.quiet_timeout)
    begun = time.monotonic()
    units.stop([*order.stop, *restarted])
    units.disable(order.stop)
    unloaded = _unload(order, done)
    for file in order.files:
        done.files.append(files.put(file))
    if order.reload:
        units.reload()
    linked = ensure_list.link_all([wanted for wanted in order.models if wanted.instance in order.restart])
    units.enable([paths.unit(name) for name in order.enable])
    units.start(restarted)
    wait_until_ready(instances_of(plans.wanted, order.restart))
    times = dict.fromkeys(order.restart, time.monotonic())
    progress = _bring(order, times)
    done.progress = progress.with_earlier(linked + unloaded)
    for name in order.restart:
        if served:
            done.seconds_without_answer[name] = round(times[name] - begun, 2)
    if progress.failures:
        raise SwitchFailed(progress.message())
    if progress.differing():
        raise SwitchFailed(_differing(progress))

    def proven() -> Proof:
        return prove(plans.wanted, order.instances, plans.accept_unproven)

    done.proof = compare_speeds(plans.wanted, proven(), plans.speeds, proven)
    if done.proof.problem:
        raise SwitchFailed(done.proof.problem)


def _bring(order: Order, times: dict[str, float]) -> ensure_list.Progress:
    """Bring and load the models, say how far the loads are, and note in `times` when an instance had one of them."""
    loads = LoadProgress(paths.LOAD_PROGRESS)

    @contextlib.contextmanager
    def noting(wanted: WantedModel) -> Iterator[None]:
        load = loads.of(wanted.instance, paths.unit(wanted.instance), str(wanted.name))
        with load if wanted.state == "loaded" else contextlib.nullcontext():
            yield
        times[wanted.instance] = time.monotonic()

    progress = ensure_list.ensure_all(list(order.models), around=noting)
    loads.finish()
    return progress


def _watch(order: Order, plans: Plans, before: kept.Kept, done: Done) -> None:
    """Watch the instances of this switch and of those that were made before it since the applied plan was written."""
    if plans.watch_time <= 0:
        return
    changed = [instance.name for switch in before.switches for instance in switch.instances]
    names = [instance["name"] for instance in instances_of(plans.wanted, {*order.instances, *changed})]
    watched = watch(plans.wanted, names, plans.watch_time, plans.accept_unproven)
    if watched.problem:
        done.proof = watched
        raise SwitchFailed(watched.problem)


def _unload(order: Order, done: Done) -> list[tuple[WantedModel, Outcome]]:
    """Unload models before their instance has its new plan: a run that is killed in between must not leave a model that
    was loaded by another plan than the instance has."""
    models = [one for one in order.models if one.state == "unloaded" and one.instance not in order.restart]
    if not models:
        return []
    progress = ensure_list.ensure_all(models)
    if progress.failures:
        done.progress = progress
        raise SwitchFailed(progress.message())
    return progress.done


def _serve(order: Order) -> bool:
    """Whether something that is stopped serves now."""
    stopped = [*order.stop, *map(paths.unit, order.restart)]
    return any(unit.get("ActiveState") == "active" for unit in systemd.show(stopped).values())


def _differing(progress: ensure_list.Progress) -> str:
    models = ["%s of %s" % (wanted.name, wanted.instance) for wanted in progress.differing()]
    return (
        "The model files have other headers than the plan was made from: %s. Remove the model there, and run again."
        % ", ".join(models)
    )


def _instance_of_file(path: str) -> str | None:
    """The instance whose own file or link this is, None for files that instances share."""
    own = ((paths.ENVIRONMENT_DIRECTORY + "/", ".env"), (paths.ENVIRONMENT_DIRECTORY + "/", ".json"))
    for prefix, suffix in (*own, (paths.INSTANCE_RELEASES + "/", "")):
        if path.startswith(prefix) and path.endswith(suffix):
            return path[len(prefix) : len(path) - len(suffix)]
    return None
