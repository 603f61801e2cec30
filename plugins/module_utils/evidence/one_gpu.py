# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why one GPU carries a model that is planned over several, by what its engine was started with. Pure.

Sources: Ollama 0.30 to 0.32 (server/sched.go: one GPU is `--split-mode none`, which main_gpu asks for whatever
OLLAMA_SCHED_SPREAD says; any value but a false one switches that on), and llama-server, which reads LLAMA_ARG_* from
the environment of the service. Older releases pass --tensor-split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional

from ..common.arguments import option
from ..common.engine_variables import shares
from ..common.go_values import switch
from ..common.visible_devices import VISIBLE_DEVICES, shown
from . import engine_log, tolerances
from .comparison import Comparison

_SPREAD = "OLLAMA_SCHED_SPREAD"
_SPLIT, _MODE = "LLAMA_ARG_TENSOR_SPLIT", "LLAMA_ARG_SPLIT_MODE"


class Cause(NamedTuple):
    """What was seen, as the end of a sentence, and what to do; one or two sentences."""

    seen: str
    remedy: str


def cause(comparison: Comparison) -> Cause:
    """Return why the model is on one GPU; where nothing tells, how to find out."""
    engine, unit = comparison.observed.engine, comparison.unit
    if engine is None:
        return Cause("its engine is not known", "Restart %s, and check again while its engine runs." % unit)
    variables = engine.environment or {}
    given = _given_to_all(comparison, variables)
    if given:
        return given
    if option(engine.arguments, "--split-mode") == "none":
        return _one_was_chosen(comparison, variables)
    number = _numbers(option(engine.arguments, "--tensor-split"))
    if number == 1:
        return _without_spread(comparison, "its engine has a --tensor-split for one GPU")
    # The runner of before 0.30 is shown the GPUs that were chosen, and not all that were found.
    one_shown = None if "runner" in engine.arguments[:3] else _shows_one(comparison, variables)
    if one_shown:
        return one_shown
    if engine.environment is None:
        seen = "nothing in its arguments asks for one GPU, and its environment cannot be read"
    else:
        seen = "nothing in its arguments or environment asks for one GPU"
    remedy = "Look at journalctl -u %s for lines of load_tensors and CUDA errors, then load the model again." % unit
    return Cause(seen, remedy)


def carrier(comparison: Comparison) -> Optional[str]:
    """Return the planned GPU that alone has a model of about the size of a CUDA context; None where that is not sure.

    The log of the engine has to put all of it there, and NVML has to show half of it above the contexts elsewhere,
    which are planned with the same size.
    """
    memory, log = comparison.memory, comparison.observed.log
    logged = memory.engine_exact()
    on_gpus = [name for name in log.buffers if engine_log.is_gpu(name)] if log else []
    used = [uuid for uuid, size in logged.items() if size and uuid in comparison.planned]
    contexts = {device["uuid"]: device.get("overhead_bytes") or 0 for device in memory.devices}
    if len(logged) < len(on_gpus) or len(used) != 1 or len(set(contexts.values())) != 1:
        return None
    held = {uuid: memory.held[uuid] for uuid in comparison.planned if uuid in memory.held}
    sizes = {uuid: one.exact_bytes if one.listed else contexts[uuid] for uuid, one in held.items()}
    own, others = sizes.pop(used[0], None), list(sizes.values())
    if own is None or not others or None in others:
        return None
    above = own - max(size or 0 for size in others)
    return used[0] if above > max(logged[used[0]] // 2, tolerances.COMPUTE_BYTES) else None


def _given_to_all(comparison: Comparison, variables: Mapping[str, str]) -> Optional[Cause]:
    """A variable of the service that keeps every model on one GPU."""
    for name, keeps in (
        (_MODE, variables.get(_MODE) == "none"),
        (_SPLIT, _numbers(variables.get(_SPLIT)) == 1),
        ("LLAMA_ARG_DEVICE", bool(variables.get("LLAMA_ARG_DEVICE")) and "," not in variables["LLAMA_ARG_DEVICE"]),
    ):
        if keeps:
            return Cause(
                "%s=%s in the environment of %s" % (name, variables[name], comparison.unit),
                "Take %s out of the environment of %s (systemctl cat %s shows where it is set), and restart it."
                % (name, comparison.unit, comparison.unit),
            )
    return None


def _shows_one(comparison: Comparison, variables: Mapping[str, str]) -> Optional[Cause]:
    """One GPU that CUDA shows to the engine: a server names to it what it has found."""
    visible, unit = variables.get(VISIBLE_DEVICES), comparison.unit
    if visible is None or len(shown(list(comparison.host.devices), visible)) != 1:
        return None
    return Cause(
        "its engine sees one GPU (%s=%s), because its server has found no other one" % (VISIBLE_DEVICES, visible),
        "Compare %s of systemctl cat %s with the plan, then restart %s: it looks for GPUs only when it starts, and "
        'journalctl -u %s has a line "inference compute" for each one.' % (VISIBLE_DEVICES, unit, unit, unit),
    )


def _one_was_chosen(comparison: Comparison, variables: Mapping[str, str]) -> Cause:
    """Ollama itself has chosen one GPU."""
    parameters, name = comparison.observed.parameters, comparison.name
    number = (parameters or {}).get("main_gpu")
    started = "its engine was started with --split-mode none"
    if number is not None:
        return Cause(
            "%s, because the model has main_gpu %s" % (started, number),
            "Remove main_gpu from the parameters of %s (run the role, or create it without), and load it again." % name,
        )
    if switch(variables.get(_SPREAD)):
        whose = "the model or the request" if parameters is None else "the request that loaded it"
        return Cause(
            "%s although %s=%s is set: %s has main_gpu" % (started, _SPREAD, variables[_SPREAD], whose),
            "Unload %s and load it without main_gpu: take that out of the options of the client that loads it." % name,
        )
    return _without_spread(comparison, started)


def _without_spread(comparison: Comparison, started: str) -> Cause:
    unit = comparison.unit
    if switch(comparison.environment.get(_SPREAD)):
        remedy = "Restart %s: the plan sets %s=1, and this process runs without it." % (unit, _SPREAD)
    else:
        remedy = (
            "Set %s=1 in the environment of %s and restart it (num_gpu is a number of layers, not of GPUs, and does "
            "not spread them)." % (_SPREAD, unit)
        )
    return Cause("%s, and %s is not set: Ollama takes one GPU where the model fits on it" % (started, _SPREAD), remedy)


def _numbers(split: Optional[str]) -> int:
    """How many GPUs a list of shares gives layers to."""
    return sum(share > 0 for share in shares(split or ""))
