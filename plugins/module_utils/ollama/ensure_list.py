# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bring a list of models of several instances into their wanted states, one after the other."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any, Callable, ContextManager

from ..common.names import parse
from .ensure import EXPECTED_ERRORS, WantedModel, ensure
from .target import Outcome, Target

# Outcome.action -> what was done to the model
_DONE = {
    "link": "linked",
    "copy": "copied",
    "pull": "pulled",
    "import": "brought from its file",
    "create": "created",
    "alias": "given to another model",
    "delete": "deleted",
    "load": "loaded",
    "reload": "loaded again",
    "keep_alive": "kept loaded",
    "unload": "unloaded",
}


@dataclass
class Progress:
    """How far a list of models has come.

    Attributes:
        done: The entries that were worked through, in the order of the list, each with its outcome.
        failures: The entries that failed, each with the reason.
        skipped: The entries that were not begun: of an instance that had failed, or of every one where an address is
            wrong.
        held_back: The entries that were not begun because a model was planned from another header than it has.
    """

    done: list[tuple[WantedModel, Outcome]] = field(default_factory=list)
    failures: list[tuple[WantedModel, str]] = field(default_factory=list)
    skipped: list[WantedModel] = field(default_factory=list)
    held_back: list[WantedModel] = field(default_factory=list)

    def differing(self) -> list[WantedModel]:
        """Return the models that have another header than the plan was made from."""
        return [wanted for wanted, outcome in self.done if outcome.header_differs]

    def with_earlier(self, earlier: list[tuple[WantedModel, Outcome]]) -> Progress:
        """Return this progress with what was done to the same models before it.

        Without that, what an earlier step did would be told as if it had been so before.

        Args:
            earlier: Entries of the same instances, names and states, each with its outcome.
        """
        before = {_key(wanted): outcome for wanted, outcome in earlier}
        done = []
        for wanted, outcome in self.done:
            if _key(wanted) in before and not outcome.changed:
                outcome = replace(before[_key(wanted)], header_differs=outcome.header_differs)
            done.append((wanted, outcome))
        return replace(self, done=done)

    def message(self) -> str:
        """Return the failures in words: instance, model and reason of each, what was done and what was not begun; ""
        without one."""
        if not self.failures:
            return ""
        sentences = [
            "%s of instance %s: %s%s"
            % (wanted.name, wanted.instance, reason, "" if reason.endswith((".", "?")) else ".")
            for wanted, reason in self.failures
        ]
        changed = [
            "%s of %s was %s" % (wanted.name, wanted.instance, _DONE[outcome.action])
            for wanted, outcome in self.done
            if outcome.changed
        ]
        if changed:
            sentences.append(
                "Apart from that, %s; this stays, and the next run goes on from there." % ", ".join(changed)
            )
        else:
            sentences.append("No model was changed.")
        if self.skipped:
            skipped = ["%s of %s (%s)" % (wanted.name, wanted.instance, wanted.state) for wanted in self.skipped]
            sentences.append("Not begun: %s." % ", ".join(skipped))
        return " ".join(sentences)


def _key(wanted: WantedModel) -> tuple[str, str, str]:
    return (wanted.instance, str(wanted.name), wanted.state)


def link_all(wanted_models: list[WantedModel]) -> list[tuple[WantedModel, Outcome]]:
    """Bring models from other stores on this host while the servers of their instances do not run.

    What cannot be brought so is left: `ensure_all` brings it when they run, or says why it cannot.

    Returns:
        The models that were brought.
    """
    found = []
    for wanted in wanted_models:
        if wanted.state != "present" or wanted.store is None:
            continue
        with contextlib.suppress(*EXPECTED_ERRORS):
            here = replace(wanted, pull=replace(wanted.pull, only_here=True))
            outcome = ensure(here, here.target())
            if outcome.changed:
                found.append((wanted, outcome))
    return found


def ensure_all(
    wanted_models: list[WantedModel],
    check_mode: bool = False,
    around: Callable[[WantedModel], ContextManager[Any]] = contextlib.nullcontext,
) -> Progress:
    """Bring models into their wanted states, one after the other.

    After a failure the later entries of that instance are skipped, because they may need what failed; those of other
    instances go on, so that one broken GPU leaves no other without its models. Once a model has turned out to have
    another header than the plan was made from, nothing is deleted, unloaded or loaded any more: that plan is wrong.

    Args:
        wanted_models: In an order that works.
        check_mode: Whether nothing may be changed.
        around: What an entry is worked through in. It gets the exception where that fails.

    Raises:
        LibraryMissing: The host has no requests; nothing was done.
    """
    progress = Progress()
    targets: dict[tuple, Target] = {}
    for number, wanted in enumerate(wanted_models):  # first of all, because an invalid address is refused here
        try:
            targets.setdefault(wanted.server_key(), wanted.target())
        except EXPECTED_ERRORS as error:
            rest = wanted_models[:number] + wanted_models[number + 1 :]
            return Progress(failures=[(wanted, str(error))], skipped=rest)
    broken: set[str] = set()
    for wanted in wanted_models:
        if wanted.instance in broken:
            progress.skipped.append(wanted)
            continue
        if wanted.state != "present" and progress.differing():
            progress.held_back.append(wanted)
            continue
        changed = True  # a failure may come after something was changed
        try:
            with around(wanted):
                outcome = ensure(wanted, targets[wanted.server_key()], check_mode)
            if check_mode:
                outcome = _after_the_earlier(wanted, outcome, progress.done)
            changed = outcome.changed
            progress.done.append((wanted, outcome))
        except EXPECTED_ERRORS as error:
            broken.add(wanted.instance)
            progress.failures.append((wanted, str(error)))
        if changed and not check_mode:
            for target in targets.values():
                target.forget()
    return progress


def _after_the_earlier(wanted: WantedModel, outcome: Outcome, done: list[tuple[WantedModel, Outcome]]) -> Outcome:
    """Correct what check mode predicts for one entry by what the entries before it would have done.

    Outside check mode those have been done: a model that another instance has got is linked from there, and a base that
    this instance has got is not pulled again.
    """
    brought = [(other, its) for other, its in done if its.action in ("link", "copy", "pull", "import", "create")]
    same_as = wanted.same_as
    if same_as and any(other.instance == wanted.instance and other.name.same(same_as) for other, its in brought):
        return Outcome("alias", None, 0, outcome.before, outcome.after)
    if outcome.action not in ("copy", "pull", "import", "create"):
        return outcome
    stores = [store.path for store in wanted.pull.link_from] if wanted.store else []
    for other, its in brought:
        if other.store and other.store.path in stores and wanted.satisfied_by(other, its.digest):
            return Outcome("link", its.digest, 0, outcome.before, its.after)
    base = parse(wanted.request["from"]) if wanted.request else None
    if base and any(other.url == wanted.url and other.name.same(base) for other, its in brought):
        outcome.pulled_bytes = 0
    return outcome
