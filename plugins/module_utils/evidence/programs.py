# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which programs, libraries and models run, beside those of the one installation that a restart would run. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Sequence
from typing import Optional

from .shapes import DELETED, EngineProcess

#: Programs of a release, by their place in it: another program (the interpreter of a script) does not tell the place.
_PROGRAMS = ("ollama", "llama-server")
_PLACES = ("/bin", "/lib/ollama")
_LIBRARIES = ("libggml", "libllama")


def others(server: Optional[str], runs_next: Optional[bool], engines: Collection[EngineProcess]) -> Optional[list[str]]:
    """Return the programs and libraries that are not of one installation, or not of that which a restart would run.

    Args:
        server: the file that the server runs; None where it is not known.
        runs_next: whether that is the one that its unit starts; None where it is not known.
        engines: of its models.

    Returns:
        None where something of it is not known.
    """
    programs = [server] + [_program(engine) for engine in engines]
    known = [program for program in programs if program]
    libraries = [file for engine in engines for file in engine.mapped or [] if _name(file).startswith(_LIBRARIES)]
    replaced = [file for file in known + libraries if file.endswith(DELETED)]
    if replaced or runs_next is False:
        return replaced or known[:1]
    foreign = [
        engine.executable for engine in engines if engine.executable and _name(_program(engine)) not in _PROGRAMS
    ]
    if foreign:
        return foreign
    places = {_installation(program) for program in known if _name(program) in _PROGRAMS}
    if len(places) > 1:
        return known
    elsewhere = [file for file in libraries if not all(file.startswith(place.rstrip("/") + "/") for place in places)]
    unknown = None in programs or runs_next is None or any(engine.mapped is None for engine in engines)
    return elsewhere or (None if unknown else [])


def other_models(engine: EngineProcess) -> list[str]:
    """Return the models that an engine has mapped and that its arguments do not name, or that were replaced since."""
    named = {_name(word) for word in engine.arguments}
    models = [_name(file) for file in engine.mapped or [] if not _name(file).startswith(_LIBRARIES)]
    return [file for file in models if named and file not in named]


def _program(engine: EngineProcess) -> Optional[str]:
    """Return the program that an engine runs: that of its interpreter's arguments where it is a script."""
    if engine.executable is None or _name(engine.executable) in _PROGRAMS or engine.executable.endswith(DELETED):
        return engine.executable
    scripts = _scripts(engine.arguments)
    return scripts[0] if scripts else engine.executable


def _scripts(arguments: Sequence[str]) -> list[str]:
    """Return the programs of a release that an interpreter (or the dynamic linker) was given to run."""
    return [word for word in arguments[1:3] if word.startswith("/") and _name(word) in _PROGRAMS]


def _name(file: Optional[str]) -> str:
    return posixpath.basename(file or "")


def _installation(program: str) -> str:
    """Return the directory that a release is installed in, from a program in its bin or lib/ollama."""
    directory = posixpath.dirname(program)
    for place in _PLACES:
        if directory.endswith(place):
            return directory[: -len(place)]
    return directory
