# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Heal an instance that is not as planned: load its models again, or restart it if this did not help.

Before that, at each check that finds it necessary, firewall rules that are not in force are loaded, and systemd reads
units that were changed: neither disturbs a client. The load and the restart are tried once each. Those that were tried
are kept in a file until a later check finds the instance as planned.
"""

from __future__ import annotations

import contextlib
import datetime
from typing import Any, Optional

from ..common import paths
from ..common.names import InvalidName, parse, served_name
from ..evidence import guarded
from ..evidence.server_identity import UNIT_READ
from ..evidence.shapes import FAIL, PASS, Evidence
from ..host import firewall, systemd, units
from ..host.ownership import FilesError
from ..ollama.client import OllamaClient, OllamaError
from ..ollama.loading import unload
from ..ollama.target import ModelError, Target
from . import verdict_file
from .configured import Configured, configured
from .loading import load_and_prove
from .observing import SERVER_SECONDS, Seen, observe, text_of
from .shapes import ERROR, WARNING, Line, Places
from .verdicts import verdicts

RELOADED, RESTARTED = "reloaded", "restarted"
_TRIED = ((RELOADED, "its models were loaded again at %s"), (RESTARTED, "it was restarted at %s"))
#: Findings that neither a load nor a restart can mend, such as a GPU that is gone. Missing firewall rules are loaded
#: before these steps.
_NOT_HEALED = {"gpu_not_seen", "foreign_process", "unplanned_model", "unproven", guarded.OPEN, guarded.CLOSED}


def heal(places: Places, plan: dict[str, Any], seen: Seen) -> tuple[Seen, list[Line]]:
    """Mend the findings of a check. The caller holds the lock.

    Args:
        places: of the host.
        plan: of the host.
        seen: the check.

    Returns:
        What the host shows afterwards, and what was done.

    Raises:
        Refused: what was tried cannot be kept, or the host cannot be read.
    """
    tried = _tried(places)
    instances, lines = configured(places), []
    is_open = any(one.finding == guarded.OPEN for one in seen.evidence.diagnosis)
    if is_open and guarded.is_helped_by_load(seen.rules):
        lines.append(_guard())
        seen = observe(plan)
    if any(name in instances and not why_not(instances[name], seen.evidence) for name in _unread(seen.evidence)):
        lines.append(_read_units())
        seen = observe(plan)
    for step, act in ((RELOADED, _reload), (RESTARTED, _restart)):
        due = [
            instances[name]
            for name in _failing(seen.evidence)
            if name in instances and _is_due(instances[name], step, seen.evidence) and step not in tried.get(name, {})
        ]
        if not due:
            continue
        for one in due:
            tried.setdefault(one.name, {})[step] = text_of(datetime.datetime.now(datetime.timezone.utc))
        _keep(places, tried)  # before the step: if it ends this process, the next check must not repeat it
        lines += act(due, seen.evidence)
        lines += load_and_prove(due).lines
        seen = observe(plan)
    left = [instances[name] for name in _failing(seen.evidence) if name in instances]
    return seen, lines + [_left(one, seen.evidence, tried) for one in left]


def begin_anew(places: Places, evidence: Evidence) -> None:
    """Delete the record of tried steps for the instances that a check has found as planned.

    Raises:
        Refused: that cannot be kept.
    """
    of_instance = verdicts(evidence)
    _keep(places, {name: steps for name, steps in _tried(places).items() if of_instance.get(name) != PASS})


def why_not(one: Configured, evidence: Evidence) -> Optional[str]:
    """Return why an instance is not healed, as the end of a sentence; None if it is healed."""
    if one.unfinished:
        return "a run of the role has begun to change it and has not ended: run the role again"
    unit = systemd.show([one.instance["unit"]]).get(one.instance["unit"], {})
    if (unit.get("ActiveState"), unit.get("Result")) == ("inactive", "success"):
        return "it was stopped: systemctl start %s starts it" % one.instance["unit"]
    found = {entry.finding for entry in evidence.diagnosis if entry.instance == one.name}
    if found and found <= _NOT_HEALED:
        return "neither a load nor a restart changes that (%s)" % ", ".join(sorted(found))
    return None


def _failing(evidence: Evidence) -> list[str]:
    return [name for name, verdict in verdicts(evidence).items() if verdict == FAIL]


def _unread(evidence: Evidence) -> list[str]:
    """The instances whose unit systemd has not read as it is now."""
    return [
        one.name
        for one in evidence.instances
        if any(check.name == UNIT_READ and check.passed is False for check in one.checks)
    ]


def _is_due(one: Configured, step: str, evidence: Evidence) -> bool:
    """Whether a step can cure an instance: only models are loaded again, and no restart makes systemd read units."""
    if why_not(one, evidence):
        return False
    if step == RELOADED:
        return bool(_failing_models(one, evidence))
    found = [entry for entry in evidence.diagnosis if entry.instance == one.name]
    return not (len(found) == 1 and one.name in _unread(evidence))


def _failing_models(one: Configured, evidence: Evidence) -> set[str]:
    return {
        model.name
        for instance in evidence.instances
        if instance.name == one.name
        for model in instance.models
        if model.verdict == FAIL
    }


def _reload(due: list[Configured], evidence: Evidence) -> list[Line]:
    return [_unload(one, evidence) for one in due]


def _unload(one: Configured, evidence: Evidence) -> Line:
    """Unload the models that are not as planned. The caller loads them again."""
    failing = _failing_models(one, evidence)
    client = OllamaClient(one.instance["url"], SERVER_SECONDS)
    for model in one.instance["models"]:
        if served_name(model) in failing:
            # Unloading may fail for a model whose engine is gone. Loading it again works all the same.
            with contextlib.suppress(OllamaError, ModelError, InvalidName):
                unload(Target(client), parse(served_name(model)))
    verb = "is" if len(failing) == 1 else "are"
    return Line("heal: %s of instance %s %s loaded again." % (", ".join(sorted(failing)), one.name, verb), WARNING)


def _read_units() -> Line:
    """Let systemd read its units again: what it has not read is not what the next start runs with."""
    try:
        units.reload()
    except units.UnitError as error:
        return Line("heal: systemd has not read its units again: %s." % error, ERROR)
    return Line("heal: systemd has read its units again.", WARNING)


def _guard() -> Line:
    """Load the firewall rules. This disturbs no permitted client, so it is done at every check that misses them."""
    try:
        written = firewall.ready_file()
        units.load([paths.FIREWALL_UNIT])
    except FilesError as error:
        return Line("heal: the rules of who may connect are not loaded: %s. Run the role again." % error, ERROR)
    except units.UnitError as error:
        return Line("heal: the rules of who may connect are not loaded: %s." % error, ERROR)
    done = "%s is written from the rules in force, and they" % paths.FIREWALL_RULES
    return Line("heal: %s are loaded again." % (done if written else "the rules of who may connect"), WARNING)


def _restart(due: list[Configured], _evidence: Evidence) -> list[Line]:
    """Restart all of them at once: a second stop would cancel the unit of the GPUs that the first start has queued."""
    names = [one.instance["unit"] for one in due]
    try:
        # If the driver was loaded again, the device nodes have to be created before the instances start.
        units.stop([*names, paths.GPUS_UNIT])
        units.start(names)
    except units.UnitError as error:
        verb = "is" if len(names) == 1 else "are"
        return [Line("heal: %s %s not restarted: %s." % (", ".join(names), verb, error), ERROR)]
    return [Line("heal: %s is restarted." % name, WARNING) for name in names]


def _left(one: Configured, evidence: Evidence, tried: dict[str, dict[str, str]]) -> Line:
    reason = why_not(one, evidence)
    if not reason:
        done = tried.get(one.name, {})
        told = [words % done[step] for step, words in _TRIED if step in done]
        reason = ", ".join([*told, "and that did not help"]) if told else "neither a load nor a restart changes that"
    return Line("heal: instance %s is left as it is, because %s." % (one.name, reason), ERROR)


def _tried(places: Places) -> dict[str, dict[str, str]]:
    """{instance: {step: time}} of the steps that were tried since a check last found the instance as planned."""
    kept = verdict_file.read(places.healing).get("tried")
    entries = kept.items() if isinstance(kept, dict) else ()
    return {name: dict(steps) for name, steps in entries if isinstance(steps, dict)}


def _keep(places: Places, tried: dict[str, dict[str, str]]) -> None:
    if tried != _tried(places):
        verdict_file.write(places.healing, {"tried": tried})
