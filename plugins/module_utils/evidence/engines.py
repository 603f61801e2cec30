# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which processes of a unit are engines, and which engine serves a model."""

from __future__ import annotations

import dataclasses

from ..gpu import sysfs
from . import unit as units
from .shapes import EngineProcess

#: Variables of an engine that decide where a model goes.
_PREFIXES = ("CUDA_", "OLLAMA_", "LLAMA_ARG_")


def engines(unit: str, root: str = "/proc") -> list[EngineProcess]:
    """Return the engines of a unit, oldest first: its living processes with the option `--model`."""
    return [EngineProcess(**found) for found in units.engines(unit, root)]


def with_environment(engine: EngineProcess, root: str = "/proc") -> EngineProcess:
    """Return the engine with the variables of its environment that concern GPUs and Ollama."""
    environment = sysfs.process_environment(engine.pid, root) or {}
    concerned = {name: value for name, value in environment.items() if name.startswith(_PREFIXES)}
    return dataclasses.replace(engine, environment=concerned)


def option(arguments: list[str], name: str) -> str | None:
    """Return the word after the option `name` in an argument list, None without it."""
    return arguments[arguments.index(name) + 1] if name in arguments[:-1] else None


def engine_of(
    engines_of_unit: list[EngineProcess], model_file: str | None, context_length: int | None, only_model: bool
) -> EngineProcess | None:
    """Return the engine that serves a model, the newest where several match; None without one.

    Args:
        engines_of_unit: oldest first (see `engines`).
        model_file: base name of the model's blob; None where it is unknown.
        context_length: of the loaded model. A model and its optimized variant share a blob, and their context
            lengths tell them apart.
        only_model: whether the instance serves only this model, so that any engine is the model's.
    """
    matches = [engine for engine in engines_of_unit if model_file and engine.model_file == model_file]
    if len(matches) > 1:
        wanted = str(context_length)
        matches = [engine for engine in matches if option(engine.arguments, "-c") == wanted] or matches
    if not matches and only_model:
        matches = engines_of_unit
    return matches[-1] if matches else None
