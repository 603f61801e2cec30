# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Check that the server that answers is the one that the plan names, with its release and environment. Pure.

All memory may be right while it is another server that answers, or one with settings that the next restart replaces.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional

from ..common.names import served_name
from ..host.unit_properties import main_pid
from . import programs
from .diagnosis import Diagnosis
from .shapes import Check, Finding, ObservedInstance

#: The check whether systemd has read the files of the unit as they are now.
UNIT_READ = "unit"
_READ = {True: "as systemd has read it", False: "changed since", None: "unknown"}
#: Findings that a wrong environment can cause.
_OF_PLACEMENT = ("one_gpu_carries_all", "layers_on_cpu", "cpu_only", "far_from_predicted")


class ServerIdentity:
    """The server of one instance beside what was observed of it.

    Args:
        instance: of the plan.
        observed: of the instance.
        release: `ollama_version` of the plan; None where it does not say.
    """

    def __init__(self, instance: Mapping[str, Any], observed: ObservedInstance, release: Optional[str]) -> None:
        self.name: str = instance["name"]
        self.unit: str = instance["unit"]
        self.url: str = instance["url"]
        self.release = release
        self.observed = observed
        self.models = [served_name(model) for model in instance["models"]]

    def listener(self) -> Optional[str]:
        """Return in words which process answers at the address; None where it is not known."""
        found = self.observed.listener or {}
        if found.get("pid") is None:
            return None
        return "process %s (%s, %s)" % (found["pid"], found.get("process") or "unknown", found.get("unit") or "no unit")

    def is_own(self) -> Optional[bool]:
        """Return whether that process is the server of the instance's unit; None where it is not known.

        Another process of the unit may forward what it gets to anywhere.
        """
        found, server = self.observed.listener or {}, main_pid(self.observed.unit)
        if found.get("pid") is None:
            return None
        if not self.is_of_unit():
            return False
        return found["pid"] == server if server else None

    def is_of_unit(self) -> bool:
        """Return whether that process is one of the instance's unit, its server or another."""
        return (self.observed.listener or {}).get("unit") == self.unit

    def is_read(self) -> Optional[bool]:
        """Return whether systemd has read the files of the unit as they are now; None where it does not say."""
        answer = self.observed.unit.get("NeedDaemonReload")
        return None if answer is None else answer != "yes"

    def is_release(self) -> Optional[bool]:
        """Return whether the server is of the planned release; None where it is not known."""
        version = self.observed.version
        return None if not version else version == self.release

    def other_programs(self) -> Optional[list[str]]:
        """Return what runs and is not of the one installation that the next start would run; None where that is not
        known."""
        running = [self.observed.models[name].engine for name in self.models if name in self.observed.models]
        return programs.others(self.observed.executable, self.observed.runs_next, [one for one in running if one])

    def other_variables(self) -> Optional[list[str]]:
        """Return the names of variables that differ between plan, process and unit; None where it is not known."""
        found = self.observed.differences
        return None if found is None else sorted({one["name"] for one in found})

    def shared_engines(self) -> list[str]:
        """Return the planned models that are loaded and have one process between them."""
        engines = {name: self.observed.models[name].engine for name in self.models if name in self.observed.models}
        pids = [engine.pid for engine in engines.values() if engine]
        return [name for name, engine in engines.items() if engine and pids.count(engine.pid) > 1]


def check_server(identity: ServerIdentity) -> list[Check]:
    """Return the checks of a server; [] where it is not reachable, which its models say."""
    if not identity.observed.reachable:
        return []
    own, variables, others = identity.is_own(), identity.other_variables(), identity.other_programs()
    checks = [
        Check("listener", own, "the server of %s" % identity.unit, identity.listener() or "unknown"),
        Check("programs", None if others is None else not others, "of one installation", _list(others)),
        Check("environment", None if variables is None else not variables, "that of the plan", _list(variables)),
        Check(UNIT_READ, identity.is_read(), _READ[True], _READ[identity.is_read()]),
    ]
    if identity.release:
        checks.append(Check("release", identity.is_release(), identity.release, identity.observed.version or "unknown"))
    if len(identity.models) > 1:
        shared = identity.shared_engines()
        checks.append(Check("own_process", not shared, "a process for each model", _list(shared)))
    return checks


def explain(identity: ServerIdentity, others: list[Finding]) -> list[Finding]:
    """Return all findings on an instance, the one that explains most first.

    Args:
        identity: of its server.
        others: the findings on its models and on what else is in its unit. A setting of the server is named before them
            only where one of them is about memory: it may be the cause. What is unknown is said only without others.
    """
    if not identity.observed.reachable:
        return others
    wrong = [finding for finding in (explanation(identity) for explanation in _SERVER) if finding]
    first = [Finding(*one, instance=identity.name, model="") for one in wrong]
    environment = [Finding(*one, instance=identity.name, model="") for one in [_environment(identity)] if one]
    causes = environment if any(one.finding in _OF_PLACEMENT for one in others) else []
    found = first + causes + others + [one for one in environment if one not in causes]
    return found or [Finding(*one, instance=identity.name, model="") for one in [_unknown(identity)] if one]


def _unknown(identity: ServerIdentity) -> Optional[Diagnosis]:
    unknown = [check.name for check in check_server(identity) if check.passed is None]
    if not unknown:
        return None
    remedy = "Run the check as root on the host itself, which may read the processes and sockets of %s." % identity.unit
    if identity.observed.runs_next is None and identity.observed.executable:
        remedy += " If its ExecStart (systemctl cat %s) is a script, let it name the program ollama." % identity.unit
    return Diagnosis(
        "unproven",
        "it is not known whether the server at %s is that of the plan (%s)" % (identity.url, ", ".join(unknown)),
        remedy,
    )


def _environment(identity: ServerIdentity) -> Optional[Diagnosis]:
    names = identity.other_variables()
    if not names:
        return None
    return Diagnosis(
        "far_from_predicted",
        "%s differs between the plan, the process of %s and what its unit sets at the next start"
        % (", ".join(names), identity.unit),
        "Run the role: it writes the environment of the plan and restarts %s. If a drop-in sets a variable (systemctl "
        "cat %s), remove it there." % (identity.unit, identity.unit),
    )


def _other_listener(identity: ServerIdentity) -> Optional[Diagnosis]:
    if identity.is_own() is not False:
        return None
    if identity.is_of_unit():
        return Diagnosis(
            "not_loaded",
            "%s answers at %s, and not the main process of its unit (%s)"
            % (identity.listener(), identity.url, main_pid(identity.observed.unit)),
            "Look at systemctl cat %s. A program that starts the server has to become the server (exec in a script): "
            "systemd watches the main process alone. What forwards connections does not belong into the unit. "
            "Then restart %s." % (identity.unit, identity.unit),
        )
    return Diagnosis(
        "not_loaded",
        "%s answers at %s, and not the server of %s" % (identity.listener(), identity.url, identity.unit),
        "Stop that process, or give the instances other ports (ollama_multigpu_base_port), then restart %s."
        % identity.unit,
    )


def _other_release(identity: ServerIdentity) -> Optional[Diagnosis]:
    if not identity.release or identity.is_release() is not False:
        return None
    return Diagnosis(
        "far_from_predicted",
        "the server at %s is Ollama %s, and the plan is made for %s"
        % (identity.url, identity.observed.version, identity.release),
        "Run the role: it installs the release of the plan and restarts %s." % identity.unit,
    )


def _unread_unit(identity: ServerIdentity) -> Optional[Diagnosis]:
    if identity.is_read() is not False:
        return None
    return Diagnosis(
        "far_from_predicted",
        "a file of %s (its own or a drop-in) was changed, and systemd has not read it again: what the service may use "
        "and what it runs with can be others at its next start" % identity.unit,
        "Look at systemctl cat %s, remove what does not belong there, and run the role, or run systemctl daemon-reload "
        "and check again." % identity.unit,
    )


def _other_programs(identity: ServerIdentity) -> Optional[Diagnosis]:
    others = identity.other_programs()
    if not others:
        return None
    return Diagnosis(
        "far_from_predicted",
        "the processes of %s run %s: not the one installation that the next restart would run"
        % (identity.unit, ", ".join(others)),
        "Restart %s (or run the role), then check again. If nothing changes, look at systemctl cat %s, and install the "
        "release again." % (identity.unit, identity.unit),
    )


def _one_process(identity: ServerIdentity) -> Optional[Diagnosis]:
    shared = identity.shared_engines()
    if not shared:
        return None
    return Diagnosis(
        "not_loaded",
        "%s are listed as loaded, and one process serves all of them" % ", ".join(shared),
        "Restart %s and load them again: the process of the others is gone." % identity.unit,
    )


_SERVER: tuple[Callable[[ServerIdentity], Optional[Diagnosis]], ...] = (
    _other_listener,
    _other_release,
    _other_programs,
    _unread_unit,
    _one_process,
)


def _list(names: Optional[list[str]]) -> str:
    return "unknown" if names is None else ", ".join(names) or "as planned"
