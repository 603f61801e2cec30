# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What systemd says about units: their properties, the environment that they set, their drop-ins, their journal."""

from __future__ import annotations

import glob
import os
import re
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ..common import environment_file, paths
from ..common.regular import read_regular
from .command import ask

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Result",
    "MainPID",
    "Job",
    "NRestarts",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "ExecStartPre",
    "ExecStart",
    "User",
    "Environment",
    "EnvironmentFiles",
    "DevicePolicy",
    "DeviceAllow",
)
#: Values of ActiveState of a unit that runs, or is about to.
RUNNING = ("active", "activating", "reloading")
_SHOW_SECONDS = 30
_JOURNAL_SECONDS = 60
_COMMAND = re.compile(r"\{ path=(/.*?) ; argv\[\]=(.*?) ; ")
_ENVIRONMENT_FILE = re.compile(r"(?P<path>/.*?) \(ignore_errors=(?:yes|no)\)(?: |$|\n)")


def show(units: Sequence[str]) -> Dict[str, Dict[str, str]]:
    """Return {unit: {property: text}} for all units in one call of systemctl; {} where systemd does not answer.

    Args:
        units: names, or patterns such as paths.INSTANCE_UNITS, which stand for the units that are loaded.
    """
    if not units:
        return {}
    command = ["systemctl", "show", "--no-pager", "--property=" + ",".join(PROPERTIES)] + list(units)
    try:
        return parse_show(ask(command, timeout=_SHOW_SECONDS)[1])
    except OSError:
        return {}


def show_ours() -> Dict[str, Dict[str, str]]:
    """Return what `show` says of the Ollama of another installer, of the fetch server, of every loaded instance, of the
    timer of the checks, and of what loads rules of a firewall."""
    firewall = [paths.FIREWALL_UNIT, paths.FIREWALLD_UNIT]
    return show([paths.EXISTING_UNIT, paths.FETCH_UNIT, paths.INSTANCE_UNITS, paths.CHECK_TIMER, *firewall])


def parse_show(text: str) -> Dict[str, Dict[str, str]]:
    """Return {unit: {property: text}} of the output of `systemctl show`: key=value lines, a blank line between units.

    A property that comes several times (EnvironmentFiles) is joined by newlines.
    """
    units: Dict[str, Dict[str, str]] = {}
    for block in text.split("\n\n"):
        properties: Dict[str, str] = {}
        for line in block.splitlines():
            key, equals, value = line.partition("=")
            if equals:
                properties[key] = properties[key] + "\n" + value if key in properties else value
        if properties.get("Id"):
            units[properties["Id"]] = properties
    return units


def environment(properties: Mapping[str, str]) -> Dict[str, str]:
    """Return the environment that a unit would set now: Environment=, then its EnvironmentFile= in their order.

    Args:
        properties: of `show`, in which systemd has resolved drop-ins, resets and specifiers such as %i. A file that
            cannot be read counts as empty.
    """
    variables = environment_file.parse_property(properties.get("Environment", ""))
    for path in _ENVIRONMENT_FILE.findall(properties.get("EnvironmentFiles", "") + "\n"):
        try:
            text = read_regular(path).decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
            variables.update(environment_file.parse(text))
        except OSError:
            continue
    return variables


def command(properties: Mapping[str, str]) -> List[str]:
    """Return the program that a unit would start now, and its arguments, by its ExecStart; [] without one, or with
    several.

    systemd does not quote arguments: one with a space is two here.
    """
    found = _COMMAND.findall(properties.get("ExecStart", ""))
    return [found[0][0], *found[0][1].split(" ")[1:]] if len(found) == 1 else []


def user(properties: Mapping[str, str]) -> str:
    """Return the user that a unit's processes run as."""
    return properties.get("User") or "root"


def enabled_instances(root: str = "/") -> Set[str]:
    """Return the instances that start at boot: links in the wants directories, also of units that are not loaded.

    Args:
        root: / except in tests.
    """
    pattern = os.path.join(paths.below(root, paths.UNIT_DIRECTORY), "*.wants", paths.INSTANCE_UNITS)
    names = (paths.instance_of(os.path.basename(link)) for link in glob.glob(pattern))
    return {name for name in names if name}


def drop_ins(root: str = "/") -> List[Dict[str, str]]:
    """Return [{path, unit}] of the drop-ins that change the instances' units. The collection itself writes none.

    Args:
        root: / except in tests.
    """
    found = []
    for directory in paths.DROP_IN_DIRECTORIES:
        pattern = os.path.join(paths.below(root, directory), paths.INSTANCE_UNITS + ".d", "*.conf")
        for path in sorted(glob.glob(pattern)):
            found.append({"path": path, "unit": os.path.basename(os.path.dirname(path))[: -len(".d")]})
    return found


def journal(unit: str, since: Optional[float] = None) -> Tuple[List[str], Optional[str]]:
    """Return the lines of a unit's journal, or [] and why it cannot be read; [] and None where it holds nothing.

    A user who may not read it is told that it holds nothing.

    Args:
        unit: name of the unit.
        since: seconds since 1970; None = from its start.
    """
    command = ["journalctl", "--unit=" + unit, "--output=cat", "--no-pager", "--quiet"]
    if since is not None:
        command.append("--since=@%d" % since)
    try:
        status, text, complaints = ask(command, timeout=_JOURNAL_SECONDS)
    except OSError as error:
        return [], "journalctl cannot be run: %s" % error
    if status != 0 or (complaints.strip() and not text):
        reason = complaints.strip().splitlines()
        return [], "the journal of %s holds nothing of this engine%s" % (unit, " (%s)" % reason[0] if reason else "")
    return text.splitlines(), None
