# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compute buffers that were computed before: a search for the largest context asks for the same ones again and again.
Pure."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from ..model.schema import ModelFacts
from .graph import kinds
from .load import Load
from .weights import Moved


class Remembered:
    """Answers of a function, by all that they depend on.

    Args:
        compute: the function; it takes the arguments of `of`, with a list of layer_devices and no None for `moved`.
        most: answers that are kept; with one more, all are forgotten.
    """

    def __init__(self, compute: Callable[..., List[int]], most: int) -> None:
        self._compute = compute
        self._most = most
        self._answers: Dict[tuple[Any, ...], List[int]] = {}

    def of(
        self,
        model: ModelFacts,
        found: List[Optional[kinds.Kind]],
        layer_devices: Sequence[Optional[int]],
        device_count: int,
        load: Load,
        moved: Optional[Moved],
    ) -> List[int]:
        """Return the answer of the function, which is asked where it is not known.

        Args:
            model: the ModelFacts.
            found: the tensors of every block (kinds.kinds_of).
            layer_devices: device of every layer (None = host), as weights.assign_layers gives it.
            device_count: number of devices.
            load: the Load.
            moved: as compute.compute_by_device takes it.
        """
        moved = dict(moved or {})
        key = (
            kinds.mark(model, found),
            tuple(layer_devices),
            device_count,
            load,
            tuple(sorted(moved.items(), key=repr)),
            kinds.Sizes(model, found).mark() if load.op_offload else None,
        )
        if key not in self._answers:
            if len(self._answers) >= self._most:
                self.forget()
            self._answers[key] = self._compute(model, found, list(layer_devices), device_count, load, moved)
        return list(self._answers[key])

    def forget(self) -> None:
        """Forget all answers."""
        self._answers.clear()
