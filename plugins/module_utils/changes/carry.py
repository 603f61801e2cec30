# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which environment variables of an adopted Ollama go into the plan's. Pure."""

from __future__ import annotations

from typing import Collection, Dict, List, Mapping, NamedTuple

from ..common import exposure, service_variables
from ..placement.ask.user_variables import check_variable
from ..placement.errors import PlacementError
from ..releases.versions import parse_version


class Dropped(NamedTuple):
    """A variable that is not carried over.

    Attributes:
        name: its name.
        reason: why, as the end of a sentence: "NAME is not carried over: ".
    """

    name: str
    reason: str


class Carried(NamedTuple):
    """What becomes of the variables of an adopted Ollama.

    Attributes:
        kept: those to plan with, by name.
        dropped: those to warn about, in the order of their names.
    """

    kept: Dict[str, str]
    dropped: List[Dropped]


def carried_over(environment: Mapping[str, str], version: str, acknowledged: Collection[str] = ()) -> Carried:
    """Decide which variables of an adopted Ollama are carried over.

    What the plan decides for itself, what no release reads, what loads other code and what the plan would refuse is
    dropped: the user did not write it for this plan, so it must not stop it. What an installer writes for the process
    (PATH, HOME ...) is neither kept nor worth a warning.

    Args:
        environment: the variables of its unit, its drop-ins and its environment files.
        version: the Ollama version planned for, such as "0.32.15".
        acknowledged: variables that may open the service to others.

    Raises:
        ValueError: not a version.
    """
    numbers = parse_version(version)
    kept: Dict[str, str] = {}
    dropped: List[Dropped] = []
    for name, value in sorted(environment.items()):
        if name in service_variables.OF_THE_PROCESS:
            continue
        reason = _reason(name, value, version, numbers) or _exposure(name, value, acknowledged)
        if reason:
            dropped.append(Dropped(name.encode("utf-8", "backslashreplace").decode("utf-8"), reason))
        else:
            kept[name] = value
    return Carried(kept, dropped)


def _reason(name: str, value: str, version: str, numbers: service_variables.Version) -> str:
    """Return why a variable is dropped, or ""."""
    variable = service_variables.find(name)
    if variable.owner == service_variables.UNKNOWN:
        return "no release of Ollama reads it"
    if variable.owner == service_variables.REFUSED:
        return "it %s" % variable.advice
    if variable.owner == service_variables.PLAN:
        return "the plan decides it; %s" % variable.advice
    if not variable.carried:
        return "it was chosen for another plan; %s" % variable.advice
    if not variable.known_to(numbers):
        return "Ollama %s does not read it, releases %s do" % (version, service_variables.span(variable))
    try:
        check_variable(name, value)
    except PlacementError as error:
        return "its value cannot be used: %s" % str(error).rstrip(".")
    return ""


def _exposure(name: str, value: str, acknowledged: Collection[str]) -> str:
    """Return why a variable that opens the service to others is dropped, or ""."""
    opens = exposure.of_variable(name, check_variable(name, value) or "")
    if not opens or name in acknowledged:
        return ""
    return "it %s; add %s to ollama_multigpu_acknowledged to keep it" % (opens, name)
