# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parameters of a Modelfile as a plan takes them, and num_gpu, which is a number of layers and not of GPUs.

Names and types are those of ollama/parameters.py. Here a number may be given as text, as templates produce it.
"""

from __future__ import annotations

import math
import re
from typing import Any, Optional

from ...model.schema import ModelFacts
from ...ollama import parameters as known
from ..errors import PlacementError

# Whole numbers below which Ollama's runner does not start.
LEAST = {"num_batch": 1, "num_ctx": 4}


def check_parameters(parameters: Any, where: str) -> tuple[dict[str, Any], list[str]]:
    """Check a dict of parameters and return it with the right types.

    Args:
        parameters: dict of name to value, or None. Numbers may be given as text, as templates produce them.
        where: words that say whose they are, for the message.

    Returns:
        (dict with typed values, list of warnings).

    Raises:
        PlacementError: an unknown name (with the nearest known one), or a value of the wrong type.
    """
    if not isinstance(parameters or {}, dict):
        raise PlacementError(
            "The parameters of %s are %r, which is not a dictionary; give for example temperature: 0.2."
            % (where, parameters)
        )
    checked = {}
    warnings = []
    for name, value in (parameters or {}).items():
        if value is None:
            continue
        if name in known.RETIRED:
            warnings.append("Parameter %s of %s has no effect on this Ollama version." % (name, where))
            checked[name] = value
        elif name not in known.TYPES:
            raise PlacementError("Parameter '%s' of %s is unknown to Ollama: %s" % (name, where, known.hint(name)))
        else:
            checked[name] = _typed(name, value, where)
    return checked, warnings


def _typed(name: str, value: Any, where: str) -> Any:
    kind = known.TYPES[name]
    if kind == known.INTEGER:
        return whole_number(value, "Parameter '%s' of %s" % (name, where), LEAST.get(name))
    if kind == known.NUMBER:
        try:
            if isinstance(value, bool) or not math.isfinite(float(value)):
                raise ValueError
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise PlacementError(
                "Parameter '%s' of %s is %r, which is not a number; give one, for example 0.8." % (name, where, value)
            )
    if kind == known.BOOLEAN:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false", "yes", "no"):
            return str(value).lower() in ("true", "yes")
        raise PlacementError("Parameter '%s' of %s is %r; give true or false." % (name, where, value))
    values = value if isinstance(value, (list, tuple)) else [value]
    return [str(item) for item in values]


def whole_number(value: Any, what: str, least: Optional[int] = None) -> int:
    """The value as an integer; text of digits is understood.

    Args:
        what: names the value in the message.
        least: the smallest number that can be.

    Raises:
        PlacementError: not a whole number, or below `least`.
    """
    number = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and re.match(r"^[+-]?[0-9]+$", value.strip()):
        number = int(value)
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    if number is None:
        raise PlacementError("%s is %r, which is not a whole number; give one." % (what, value))
    if least is not None and number < least:
        raise PlacementError("%s is %d; give a whole number of at least %d." % (what, number, least))
    return number


def check_layers(num_gpu: Optional[int], model: ModelFacts, allow_cpu_offload: bool, name: str) -> None:
    """Refuse a num_gpu that would leave layers on the CPU unless the user allows that.

    Args:
        num_gpu: the user's value; negative = Ollama decides.
        model: the model's facts.
        allow_cpu_offload: whether layers on the CPU are wanted.
        name: the model's name, for the message.
    """
    layers = model.block_count + 1
    if num_gpu is None or num_gpu < 0 or num_gpu >= layers or allow_cpu_offload:
        return
    raise PlacementError(
        "num_gpu %d for %s is a number of layers, not of GPUs: only %d of its %d layers would go to the GPUs and the "
        "rest would run on the CPU; leave num_gpu out and use strategy split or spread for several GPUs, or set "
        "allow_cpu_offload: true if that is what you want." % (num_gpu, name, num_gpu, layers)
    )
