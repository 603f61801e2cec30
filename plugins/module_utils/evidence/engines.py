# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which processes of a unit are engines, and which engine serves a model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ..common.arguments import MODEL, is_engine, option
from ..common.service_variables import is_of_the_server
from ..host import proc
from .shapes import DELETED, EngineProcess

#: What a process is a child of when the one that started it has ended.
_INIT = 1
#: The option --model in short: other programs (python -m) have it too, and are no engines for it.
_MODEL_IN_SHORT = "-m"
#: Names of files whose mappings tell what an engine has loaded: models, and the libraries that compute.
_TELLING = re.compile(r"(sha256-.*|.*\.gguf|lib(ggml|llama).*)\Z")


def engines(unit: str, root: str = "/proc", with_mapped: bool = True) -> list[EngineProcess]:
    """Return the engines of a unit, oldest first: its living processes with the option `--model`.

    Args:
        unit: its name.
        root: /proc except in tests.
        with_mapped: see `engines_among`.
    """
    return engines_among(proc.unit_processes(unit, root), root, with_mapped)


def engines_among(pids: Iterable[int], root: str = "/proc", with_mapped: bool = True) -> list[EngineProcess]:
    """Return the engines among processes, oldest first.

    Args:
        pids: numbers of the processes.
        root: /proc except in tests.
        with_mapped: whether to read what they have mapped. The kernel makes the list of thousands of mappings with the
            memory of the process locked, so who looks again and again goes without.
    """
    found = []
    for pid in pids:
        arguments = proc.arguments(pid, root)
        started = proc.started(pid, root)
        if not is_engine(arguments) or not started:
            continue
        model = option(arguments, MODEL, _MODEL_IN_SHORT) or ""
        port = option(arguments, "--port") or ""
        found.append(
            EngineProcess(
                pid=pid,
                model_file=os.path.basename(model),
                port=int(port) if port.isdigit() else None,
                arguments=arguments,
                started=started,
                environment=_environment(pid, root),
                parent=proc.parent(pid, root),
                executable=proc.executable(pid, root),
                mapped=_mapped(pid, root) if with_mapped else None,
            )
        )
    return sorted(found, key=lambda engine: (engine.started, engine.pid))


def of_server(candidates: list[EngineProcess], main_pid: int) -> list[EngineProcess]:
    """Return the engines that a server started; those that a killed one has left in the unit do not serve anything.

    Args:
        candidates: the engines of the unit.
        main_pid: the server's process; 0 where it is not known, and then all engines count.
    """
    own = [engine for engine in candidates if engine.parent == main_pid]
    return own or [engine for engine in candidates if not main_pid or engine.parent != _INIT]


def engine_of(
    candidates: list[EngineProcess], model_file: str | None, context_length: int | None, only_model: bool
) -> EngineProcess | None:
    """Return the engine that serves a model, the newest where several match; None without one.

    Args:
        candidates: the engines of the instance's server, oldest first (`of_server`).
        model_file: base name of the model's blob; None where it is unknown.
        context_length: of the loaded model. A model and its optimized variant share a blob, and their context
            lengths tell them apart.
        only_model: whether the instance serves only this model, so that any engine is the model's.
    """
    matches = [engine for engine in candidates if model_file and engine.model_file == model_file]
    if len(matches) > 1:
        wanted = str(context_length)
        matches = [engine for engine in matches if option(engine.arguments, "-c") == wanted] or matches
    if not matches and only_model:
        matches = candidates
    return matches[-1] if matches else None


def _mapped(pid: int, root: str) -> list[str] | None:
    """Return the models and libraries that a process has mapped into its memory, None where that cannot be read."""
    files = proc.mapped_files(pid, root)
    if files is None:
        return None
    names = {file: os.path.basename(file[: -len(DELETED)] if file.endswith(DELETED) else file) for file in files}
    return [file for file in files if _TELLING.match(names[file])]


def _environment(pid: int, root: str) -> dict[str, str] | None:
    """Return the variables of a process that concern GPUs and Ollama, None where they cannot be read."""
    variables = proc.environment(pid, root)
    if variables is None:
        return None
    return {name: text for name, text in variables.items() if is_of_the_server(name)}
