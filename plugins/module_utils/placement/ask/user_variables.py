# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Check the user's environment variables of the service: names, types, and those that the plan sets itself. Pure.

Ollama ignores unknown names silently, replaces bad integers by defaults and takes a bad port for 11434, so everything
is checked before it is written. The names and their types are in common/service_variables.py.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ...common import engine_variables, environment_file, secrets, service_variables, sizes
from ...releases.release import Release
from ..errors import PlacementError
from .parameters import whole_number

_SWITCH_VALUES = {
    "1": "1",
    "true": "1",
    "yes": "1",
    "on": "1",
    "t": "1",
    "0": "0",
    "false": "0",
    "no": "0",
    "off": "0",
    "f": "0",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Bytes that are not UTF-8 are read as lone surrogates.
_NOT_UTF8 = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_environment(environment: Optional[Mapping[str, Any]], release: Release) -> Tuple[Dict[str, str], List[str]]:
    """Check the user's variables.

    Args:
        environment: name to value (text, number or boolean), or None. A value of None means that it is not set.
        release: the Release planned for.

    Returns:
        The variables with their values as text, and warnings.

    Raises:
        PlacementError: unknown or misspelt name, a name that the plan owns, or a value that does not fit.
    """
    if not isinstance(environment or {}, dict):
        raise PlacementError(
            "environment is a %s and not a dictionary; give for example OLLAMA_DEBUG: 1." % type(environment).__name__
        )
    checked = {}
    warnings = []
    for name, value in sorted((environment or {}).items(), key=lambda item: str(item[0])):
        if value is None:
            continue
        text = check_variable(name, value)
        if not service_variables.find(name).known_to(release.numbers):
            warnings.append("%s is not known to Ollama %s and has no effect." % (name, release.version))
        if name.upper() in secrets.PROXIES and secrets.is_secret(name, value):
            warnings.append(
                "%s holds a user name or password, and Ollama itself writes it into its journal whenever it starts: "
                "use a proxy that needs none, or let only administrators read the journal." % name
            )
        if text is not None:
            checked[name] = text
    warnings.extend(_check_library(checked.get("OLLAMA_LLM_LIBRARY", ""), release))
    return checked, warnings


def _check_library(library: str, release: Release) -> List[str]:
    """Refuse an OLLAMA_LLM_LIBRARY that the release does not have; it skips all others, also Vulkan.

    Returns:
        a warning where only a release that is newer than those read may have it.
    """
    names = release.library_names()
    doubt = release.doubted_library(library)
    if doubt:
        return ["Environment variable OLLAMA_LLM_LIBRARY is '%s': %s." % (library, doubt)]
    if library and names and library not in names:
        raise PlacementError(
            "Environment variable OLLAMA_LLM_LIBRARY is '%s', which leaves Ollama %s without GPUs: its CUDA libraries "
            "are %s; give one of them, or leave the variable out." % (library, release.version, _listed(names))
        )
    return []


def _listed(names: Sequence[str]) -> str:
    """Names of CUDA libraries; those of JetPack are in archives of their own."""
    jetson = [name for name in names if "jetpack" in name]
    main = ", ".join(name for name in names if name not in jetson)
    return "%s (on a Jetson also %s)" % (main, ", ".join(jetson)) if jetson else main


def check_variable(name: Any, value: Any) -> Optional[str]:
    """Check one variable of the user.

    Returns:
        The value as text; None where Ollama takes it for not set.

    Raises:
        PlacementError: as `check_environment`.
    """
    _check_name(name)
    text = _plain_text(name, value)
    kind = service_variables.find(name).type
    if not text.strip() and kind in (service_variables.NUMBER, service_variables.SWITCH, service_variables.DURATION):
        return None
    return _typed(name, text, kind)


def check_unchecked_environment(
    environment: Optional[Mapping[str, Any]], checked: Mapping[str, str], release: Release
) -> Tuple[Dict[str, str], List[str]]:
    """Check the variables that the user passes although the collection does not know what they do.

    Args:
        environment: name to value, or None. A value of None means that it is not set.
        checked: the user's other variables.
        release: the Release planned for.

    Returns:
        The variables with their values as text, and a warning for each that says what is void with it.

    Raises:
        PlacementError: a name that the collection knows or that is given twice, or a value that cannot be written.
    """
    if not isinstance(environment or {}, dict):
        raise PlacementError(
            "environment_unchecked is a %s and not a dictionary; give for example OLLAMA_NEW_SETTING: 1."
            % type(environment).__name__
        )
    texts = {}
    warnings = []
    for name, value in sorted((environment or {}).items(), key=lambda item: str(item[0])):
        if value is None:
            continue
        texts[name] = check_unchecked(name, value)
        if name in checked:
            raise PlacementError("environment and environment_unchecked both give %s; give it once." % name)
        warnings.append(
            "%s is passed to Ollama %s unchecked: what it does is not known here. If it acts on memory, devices or "
            "loading, the figures of this plan and what is checked against them are void." % (name, release.version)
        )
    return texts, warnings


def check_unchecked(name: Any, value: Any) -> str:
    """Check one variable that the user passes although the collection does not know what it does.

    Returns:
        The value as text.

    Raises:
        PlacementError: as `check_unchecked_environment`.
    """
    _check_form(name)
    _check_owner(name)
    variable = service_variables.find(name)
    # The engine's variables that are the user's have no line of their own in the table.
    if variable.owner == service_variables.USER and (
        name in service_variables.TABLE or name.startswith(engine_variables.PREFIX)
    ):
        raise PlacementError("Environment variable %s is known; give it in environment, where it is checked." % name)
    return _plain_text(name, value)


def _plain_text(name: str, value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        raise PlacementError(
            "Environment variable %s is a %s, not a plain value; give one text."
            % (name, "dictionary" if isinstance(value, dict) else "list")
        )
    text = environment_file.value_text(value)
    if _CONTROL.search(text):
        raise PlacementError(
            "The value of environment variable %s holds a line break (newline) or another control character; "
            "give it on one line." % name
        )
    if _NOT_UTF8.search(text):
        raise PlacementError("The value of environment variable %s is not valid UTF-8 text; correct it." % name)
    return text


def _check_form(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.match(name):
        shown = str(name).partition("=")[0]  # behind it stands a value, which may be a secret
        raise PlacementError("Environment variable name %r is not one; use letters, digits and '_'." % (shown,))


def _check_owner(name: str) -> None:
    """Refuse what the plan decides and what no service may have."""
    variable = service_variables.find(name)
    if variable.owner == service_variables.PLAN:
        raise PlacementError("Environment variable %s is what the plan decides; %s." % (name, variable.advice))
    if variable.owner == service_variables.REFUSED:
        raise PlacementError("Environment variable %s %s; leave it out." % (name, variable.advice))


def _check_name(name: Any) -> None:
    _check_form(name)
    _check_owner(name)
    variable = service_variables.find(name)
    if name in service_variables.TABLE:
        return
    engine = name.startswith(engine_variables.PREFIX)
    near = None if engine and variable.owner != service_variables.UNKNOWN else _near(name, engine)
    program = "llama-server" if engine else "Ollama"
    if near and (engine or not name.startswith("CUDA_")):
        raise PlacementError(_did_you_mean(name, service_variables.find(near), program))
    if variable.owner == service_variables.UNKNOWN:
        raise PlacementError(
            "Environment variable %s is unknown to %s, which would ignore it silently; leave it out." % (name, program)
        )


def _did_you_mean(name: str, near: service_variables.Variable, program: str) -> str:
    """Return the sentence for a name that is unknown; it must not advise a variable that is refused next."""
    known = "Environment variable %s is unknown to %s" % (name, program)
    if near.owner == service_variables.PLAN:
        return "%s. If it means %s, that is what the plan decides; %s." % (known, near.name, near.advice)
    if near.owner == service_variables.REFUSED:
        return "%s. If it means %s, that %s; leave it out." % (known, near.name, near.advice)
    return "%s: did you mean %s?" % (known, near.name)


def _near(name: str, engine: bool) -> Optional[str]:
    """Return the variable that was probably meant, or None."""
    if engine:
        candidates = [engine_variables.PREFIX + word for word in sorted(engine_variables.NAMES)]
    else:
        candidates = [
            variable.name
            for variable in service_variables.TABLE.values()
            if variable.last is None and variable.owner != service_variables.REFUSED
        ]
    near = [word for word in difflib.get_close_matches(name.upper(), candidates, 1, 0.85) if word != name]
    return near[0] if near else None


def _typed(name: str, text: str, kind: str) -> str:
    where = "Environment variable %s" % name
    if name == engine_variables.UNIFIED and text not in engine_variables.ON + engine_variables.OFF:
        raise PlacementError("%s is '%s', at which llama-server would not start; give 1 or 0." % (where, text))
    if kind == service_variables.NUMBER:
        return str(whole_number(text, where, 0))
    if kind == service_variables.SWITCH:
        if text.strip().lower() not in _SWITCH_VALUES:
            raise PlacementError(
                "%s is '%s', which Ollama would take for true; give 1 or 0." % (where, secrets.shown(name, text))
            )
        return _SWITCH_VALUES[text.strip().lower()]
    if kind == service_variables.DURATION and sizes.duration(text) is None:
        raise PlacementError(
            "%s is '%s', which is not a duration and would be ignored; give one such as 30m, 24h or -1." % (where, text)
        )
    if name == "OLLAMA_KEEP_ALIVE" and sizes.is_zero(text):
        raise PlacementError(
            "%s is '%s', which would unload every model after each request; give one such as 30m or -1." % (where, text)
        )
    if name == "OLLAMA_LLM_LIBRARY":
        text = text.strip().strip("\"'")  # as Ollama reads it
    if name == "OLLAMA_LLM_LIBRARY" and text and not text.startswith("cuda"):
        raise PlacementError(
            "%s is '%s', which keeps Ollama off NVIDIA GPUs; give one such as cuda_v12, or leave it out."
            % (where, text)
        )
    return text
